/** What a text model was taught phrase by phrase: all of it, and forgetting. */
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { confirm, doing, field, problem, toast } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { when } from "./models-parts.js";

let draft = "";

/** `card`: of the version that is looked at; it says which phrases that one was trained with. */
export function taught(name, signal, card) {
  const list = h("div", { class: "stack", "aria-live": "polite" });
  const said = h("div", { class: "said" });
  const box = h("input", { type: "text", value: draft, autocomplete: "off", oninput: () => (draft = box.value) });
  const teach = doing(
    t("models.taught.teach"),
    async () => {
      if (!box.value.trim()) return box.focus();
      await state.client.learn(name, box.value.trim());
      box.value = draft = "";
      await load();
      box.focus();
    },
    { into: said },
  );
  box.addEventListener("keydown", (event) => event.key === "Enter" && !event.isComposing && teach.click());
  const section = h(
    "section",
    { class: "card taught" },
    h("h2", {}, t("models.taught")),
    h("p", { class: "muted" }, t("models.taught.text")),
    h("div", { class: "row teach-row" }, field(t("models.taught.label"), box), teach),
    said,
    list,
  );

  async function load() {
    const phrases = [];
    for (let after; ;) {
      const found = await state.client.learned(name, { limit: 500, after });
      phrases.push(...found.learned);
      if (!found.next) break;
      after = found.next;
    }
    if (!signal.aborted)
      fill(
        list,
        phrases.length
          ? [h("ul", { class: "phrases" }, phrases.map(item)), all(phrases)]
          : h("p", { class: "muted" }, t("models.taught.none")),
      );
  }

  const inThis = (phrase) => card && phrase.seen_by.includes(`${card.name}@${card.version}`);
  const seen = (phrase) =>
    phrase.seen_by.length
      ? h(
          "span",
          { class: "hint" },
          inThis(phrase) ? t("models.taught.here") : t("models.taught.seen", { versions: phrase.seen_by.join(", ") }),
        )
      : null;
  const item = (phrase) =>
    h(
      "li",
      {},
      h("span", {}, phrase.text),
      h("span", { class: "hint" }, when(phrase.learned_at)),
      seen(phrase),
      doing(
        [t("models.taught.forget"), h("span", { class: "visually-hidden" }, ` ${phrase.text}`)],
        () => forget({ id: phrase.id }),
        { into: said, class: "small quiet" },
      ),
    );
  const all = (phrases) =>
    h(
      "p",
      {},
      doing(
        t("models.taught.forget-all"),
        async () => {
          if (
            await confirm(
              t("models.taught.forget-all"),
              t("models.taught.forget-all.text", { n: phrases.length }),
              t("models.taught.forget"),
            )
          )
            await forget({ all: true });
        },
        { into: said, class: "small danger" },
      ),
    );

  /** What is in a version's weights stays there: that is said. */
  async function forget(what) {
    const { seen_by: versions, training } = await state.client.forget(name, what);
    toast(t("models.taught.gone"));
    const left = [...versions, ...training];
    await load();
    if (left.length) fill(said, h("p", { role: "status" }, t("models.taught.left", { versions: left.join(", ") })));
    box.focus();
  }

  load().catch((error) => {
    if (signal.aborted) return;
    if (error.status === 403)
      section.remove(); // a key that may not see it
    else fill(list, problem(error, { retry: () => load() }));
  });
  return section;
}
