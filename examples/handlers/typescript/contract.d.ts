// The contract of wit/notifier.wit, as componentize-qjs shows it: what notifier.ts exports and what it may import.

declare module 'postrider:notifier/handler@1.0.0' {
  export interface Part { index: number; count: number }
  export interface Notification {
    id: string;
    kind: string;
    source: string;
    subject: string | null;
    time: string;
    labels: [string, string][];
    contentType: string;
    content: Uint8Array<ArrayBuffer>;
    part: Part | null;
    attempt: number;
    attributes: [string, string][];
  }
  export interface Receipt { id?: string; note?: string }
  export type Scope = 'delivery' | 'destination';
  export interface Retry { reason: string; afterMs?: number; scope: Scope }
  /** What `send` throws. */
  export type Failure =
    | { tag: 'retry'; val: Retry }
    | { tag: 'rejected'; val: string }
    | { tag: 'gone'; val: string };
  export interface Description {
    name: string;
    version: string;
    summary: string;
    configSchema?: string;
    origins: string[];
    secrets: string[];
    maxContent?: number;
    attributes: [string, string][];
  }
  export interface Handler {
    describe(): Description;
    /** Throws a string that names the key and what is expected. */
    configure(config: string): boolean;
    /** Throws a `Failure`. */
    send(n: Notification): Receipt;
  }
}

declare module 'postrider:notifier/host@1.0.0' {
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';
  export type Algorithm = 'hmac-sha256' | 'ed25519';
  export function log(level: Level, message: string): void;
  export function setting(path: string): string | null;
  export function secret(name: string): string | null;
  export function sign(secret: string, algorithm: Algorithm, data: Uint8Array): Uint8Array;
  export function signWebhook(secret: string, data: Uint8Array): string;
}

declare module 'postrider:notifier/http@1.0.0' {
  export interface Request { method: string; url: string; headers: [string, string][]; body: Uint8Array }
  export interface Response { status: number; headers: [string, string][]; body: Uint8Array<ArrayBuffer> }
  /** The `payload` of the error that `send` throws. */
  export type HttpError =
    | { tag: 'invalid' | 'denied' | 'connect' | 'other'; val: string }
    | { tag: 'timeout' | 'too-large' };
  export function send(r: Request): Response;
}

declare module 'postrider:notifier/state@1.0.0' {
  export interface Entry { value: Uint8Array; version: number }
  export function get(key: string): Entry | null;
  export function set(key: string, value: Uint8Array, ttlMs?: number): void;
  export function remove(key: string): void;
  export function compareAndSet(key: string, expected: number | null, value: Uint8Array, ttlMs?: number): boolean;
}
