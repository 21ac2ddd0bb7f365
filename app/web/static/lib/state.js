/** What every view shares: the client, how the service is, and who may do what. */
import { Inkling } from "./client.js";
import { read, write } from "./i18n.js";

const KEPT = "inkling-key";
const EVERY = 5; // seconds between two looks at the service

/** Fires `look` at every look, `health` when the service's state changes, `key` when a key is set or taken away. */
class State extends EventTarget {
  client = new Inkling({ key: read(KEPT) ?? "" });
  /** "starting", "ready", "degraded", "not ready" or "down" */
  status = "starting";
  health = {};

  /** Look at the service now, and again and again while the page is visible. */
  watch() {
    this.look();
    setInterval(() => document.hidden || this.look(), 1000 * EVERY);
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
    window.addEventListener("online", () => this.look());
  }

  async look() {
    const before = `${this.status} ${JSON.stringify(this.health)}`;
    try {
      this.health = await this.client.health();
      this.status = this.health.status;
    } catch {
      this.status = "down";
    }
    this.dispatchEvent(new Event("look"));
    if (`${this.status} ${JSON.stringify(this.health)}` !== before) this.dispatchEvent(new Event("health"));
  }

  setKey(key) {
    this.client.key = key;
    write(KEPT, key);
    this.dispatchEvent(new Event("key"));
  }
}

export const state = new State();
