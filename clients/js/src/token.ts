// What a token says of itself. Nothing here trusts it: the server checks.

/** Whether the time of a JWT is over by its own word (claim `exp`, in s). What is no JWT says nothing. */
export function isExpired(token: string, nowMs: number): boolean {
  try {
    const part = (token.split('.')[1] ?? '').replaceAll('-', '+').replaceAll('_', '/');
    const { exp } = JSON.parse(atob(part)) as { exp?: unknown };
    return typeof exp === 'number' && exp * 1000 <= nowMs;
  } catch {
    return false;
  }
}
