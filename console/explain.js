// The state of the connection in words, with a cure where something is wrong. Pure functions.

const REASONS = {
  preferred: 'first choice of this page',
  blocked: 'UDP does not get through',
  timeout: 'UDP did not answer in time',
  unsupported: 'this browser has no WebTransport',
  gated: 'the server’s rules for this browser',
  forced: 'forced by the switch above',
  cold: 'WebTransport failed here a short while ago',
  stalled: 'WebTransport had stopped moving',
};

const GAPS = {
  expired: 'history no longer reaches back that far',
  epoch: 'the group has started anew',
  slow: 'this connection could not keep up',
  broker: 'the link between nodes lost them',
};

/** The transport's name as people write it. */
export function transportName(transport) {
  return { webtransport: 'WebTransport', websocket: 'WebSocket' }[transport] ?? 'none yet';
}

/** Why this transport, in a few words. */
export function transportReason({ transport, fallbackReason, forced, discovery }) {
  if (!transport) return '';
  if (transport === 'webtransport') return 'QUIC, encrypted';
  if (forced) return REASONS.forced;
  if (discovery && discovery.webtransport === null) return 'the server has no WebTransport listener';
  return REASONS[fallbackReason] ?? fallbackReason ?? '';
}

/** Why events are missing, in words. */
export function gapReason(reason) {
  return GAPS[reason] ?? String(reason ?? 'no reason given');
}

/** A sentence out of whatever was thrown or reported. */
export function sentence(problem) {
  const text = (typeof problem === 'string' ? problem : (problem?.message ?? problem?.reason ?? problem?.sentence)) || 'something failed';
  const said = String(text);
  const ended = /[.!?]$/.test(said) ? said : `${said}.`;
  return ended[0].toUpperCase() + ended.slice(1);
}

/** What a sender can do about a refused publish, or an empty text. */
export function publishCure(problem) {
  switch (problem?.code) {
    case 4302:
      return 'The group’s policy keeps browsers from sending; the application still can, with the lines under “Send the same from elsewhere”.';
    case 4305:
      return 'Send a link to the content instead.';
    case 4400:
    case 4401:
      return 'Wait a moment and send again.';
    default:
      return '';
  }
}

function udpPort(discovery) {
  try {
    const url = new URL(discovery.webtransport.url);
    return url.port || '443';
  } catch {
    return null;
  }
}

function onWebSocket({ fallbackReason, forced, discovery }) {
  if (forced) return { tone: 'good', text: 'On WebSocket, because the switch says so. Turn it off to try WebTransport again.' };
  if (discovery && discovery.webtransport === null) {
    return { tone: 'good', text: 'On WebSocket: the server has no WebTransport listener. Everything works; only the transport differs.' };
  }
  const port = udpPort(discovery);
  const udp = port ? `UDP port ${port}` : 'The server’s UDP port';
  switch (fallbackReason) {
    case 'blocked':
    case 'timeout':
      return { tone: 'warn', text: `${udp} does not answer: on WebSocket instead. Open that port in the firewall, and see that the server listens on it.` };
    case 'cold':
      return { tone: 'warn', text: `${udp} did not answer a short while ago: on WebSocket meanwhile. WebTransport is tried again within half an hour.` };
    case 'unsupported':
      return { tone: 'good', text: 'This browser has no WebTransport: on WebSocket instead. A current Chrome, Edge or Firefox has it.' };
    case 'gated':
      return { tone: 'good', text: 'The server keeps this browser’s engine on WebSocket, because its WebTransport is not reliable yet.' };
    case 'stalled':
      return { tone: 'warn', text: 'WebTransport had stopped moving: went on by WebSocket from the same positions.' };
    default:
      return { tone: 'good', text: 'Connected. Events arrive by WebSocket.' };
  }
}

/**
 * The sentence below the connection: what is going on and, if it is not well, what to do.
 *
 * Takes `state`, `transport`, `fallbackReason`, `retry`, `forced`, `discovery` (the server's answer, null while unknown) and
 * `problem` (the last error). Gives `tone` (good, busy, warn, bad) and `text`. Says nothing that changes from second to second.
 */
export function notice(link) {
  switch (link.state) {
    case 'connected':
      return link.transport === 'websocket' ? onWebSocket(link) : { tone: 'good', text: 'Connected. Events arrive by WebTransport, over QUIC.' };
    case 'connecting':
      return {
        tone: 'busy',
        text: link.forced ? 'Connecting by WebSocket.' : 'Connecting: WebTransport first, WebSocket beside it if there is no answer within half a second.',
      };
    case 'reconnecting': {
      const why = link.retry?.reason ? ` (${link.retry.reason})` : '';
      return {
        tone: 'warn',
        text: `The connection was lost${why}. It comes back by itself and asks for what was missed. Is the server still running?`,
      };
    }
    case 'failed': {
      const why = link.problem ? `${sentence(link.problem)} ` : '';
      return { tone: 'bad', text: `Not connected. ${why}${failureCure(link.problem?.code)}` };
    }
    default:
      return { tone: 'idle', text: 'Not connected. Events that are sent meanwhile are fetched on the next connect, as far as the group keeps history.' };
  }
}

function failureCure(code) {
  if (code === 4100) return 'Press “Use a token” and paste what “fanfare token” prints.';
  if (code === 4101 || code === 4102) return 'Press “Use a token” and paste a new one.';
  if (code === 4206) return 'The application ended this session; press Connect to come back.';
  return 'See that the server runs and that this page comes from it, then press Connect.';
}
