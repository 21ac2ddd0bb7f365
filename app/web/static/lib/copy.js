/** Into the clipboard. navigator.clipboard is missing on pages that came over plain HTTP from another machine. */
import { h } from "./dom.js";

/** True when it worked. `near`: an element that may have the focus now, in an open dialog one of its own. */
export async function copy(text, near) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = h("textarea", { class: "visually-hidden", value: text, tabindex: -1, "aria-hidden": "true" });
    near.after(box);
    box.select();
    const done = document.execCommand("copy");
    box.remove();
    near.focus();
    return done;
  }
}
