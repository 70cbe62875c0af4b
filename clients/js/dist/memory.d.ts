/** Whether WebTransport has failed lately. */
export declare function isCold(): boolean;
/** Notes how a choice ended. Only a transport that was tried and lost is a reason to wait with it. */
export declare function rememberOutcome(winner: string, reason: string): void;
