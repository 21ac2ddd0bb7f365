/** How the pictures come into a page of one's own. */
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { copy } from "../lib/copy.js";
import { doing } from "../lib/parts.js";
import { state } from "../lib/state.js";

/** Where the service asks for keys, a page needs one of its own. Never the reader's: it may do more than draw. */
export const keyed = () => (state.health.keys === "required" ? ' key="ink_pub_…"' : "");

/** The line that puts this model's pictures into any page. */
export function embedding(model) {
  const named = model === "pictures" ? "" : ` model="${model}"`; // names hold no quotation marks
  return `<script type="module" src="${state.client.url("/widgets/image-generator.js")}"></script><image-generator${named}${keyed()}></image-generator>`;
}

/** The line, and a button to copy it. */
export function embed(line) {
  const copied = h("span", { role: "status", class: "hint" });
  const button = doing(t("pictures.embed.copy"), async () => {
    const done = await copy(line.textContent, button);
    if (!done) getSelection().selectAllChildren(line);
    copied.textContent = t(done ? "pictures.copied" : "pictures.copy.failed");
  });
  return h(
    "section",
    { class: "stack embed", "aria-labelledby": "pictures-embed" },
    h("h3", { id: "pictures-embed" }, t("pictures.embed")),
    h("p", { class: "muted" }, t("pictures.embed.text")),
    h("pre", { tabindex: 0, "aria-label": t("pictures.embed.line") }, line),
    h("p", { class: "row" }, button, copied),
    h("p", { class: "hint" }, t(keyed() ? "embed.key" : "pictures.embed.origin")),
  );
}
