/** Whether the time of a JWT is over by its own word (claim `exp`, in s). What is no JWT says nothing. */
export declare function isExpired(token: string, nowMs: number): boolean;
