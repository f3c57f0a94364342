import type { components } from "./tidemark";

export type Event = components["schemas"]["Event"];

/** Which events to follow. What is not given selects everything. */
export interface EventOptions {
  /** Address of the service; http://127.0.0.1:8080 by default. */
  baseUrl?: string;
  apiKey?: string;
  /**
   * After which event to begin: its number or id, a time (RFC 3339), a duration before now
   * (1h, 2d), or latest, the default. 0 means all that are stored.
   */
  since?: string | number;
  exchange?: string;
  /** By either name of a pair. */
  symbols?: string[];
  intervals?: string[];
  kinds?: Event["kind"][];
  /** Ids of levels. */
  levels?: string[];
  role?: "support" | "resistance";
  /** Points. */
  minEdge?: number;
  /** Ends the sequence. */
  signal?: AbortSignal;
  fetch?: typeof fetch;
  /** Older events have been deleted: some may be missing before the next one. */
  onMissed?: () => void;
  /** The stream broke, or was refused for now, and is opened again. */
  onReconnect?: (error: unknown) => void;
}

/** A refusal of the service. */
export class ServiceError extends Error {
  readonly status: number;
  readonly problem?: components["schemas"]["Problem"];
  /** Milliseconds; 0 if it does not say. */
  readonly retryAfter: number;
}

/** Yields events in their order, each once, also over reconnects. */
export function followEvents(options?: EventOptions): AsyncGenerator<Event, void, void>;
