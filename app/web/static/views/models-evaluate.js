/** How well a version predicts a text of the reader's own: three figures, and the text coloured by surprise. */
import { fill, h } from "../lib/dom.js";
import { integer, number, percent, t } from "../lib/i18n.js";
import { doing, field } from "../lib/parts.js";
import { state } from "../lib/state.js";

const LEVELS = [0.1, 0.01, 0.001]; // probabilities at which a word counts as a bit, quite, very surprising
const MOST_LISTED = 8;
const MOST_STRANGE = 30;
let draft = ""; // what was typed outlives the view

export function trial(reference, signal) {
  const box = h("textarea", {
    rows: 4,
    value: draft,
    placeholder: t("models.trial.placeholder"),
    oninput: () => (draft = box.value),
  });
  const colours = h("input", { type: "checkbox", id: "trial-colours", checked: true });
  const result = h("div", { class: "stack", "aria-live": "polite" });
  const go = doing(
    t("models.trial.go"),
    async () => {
      if (!box.value.trim()) return box.focus();
      const asked = { model: reference, text: box.value, log_probabilities: colours.checked };
      const found = await state.client.evaluate(asked, { signal });
      fill(result, figures(found), found.log_probabilities ? surprises(found.log_probabilities) : null);
    },
    { into: result, class: "primary" },
  );
  return h(
    "section",
    { class: "card trial" },
    h("h2", {}, t("models.trial")),
    h("p", { class: "muted" }, t("models.trial.text")),
    field(t("models.trial.label"), box),
    h("p", { class: "row" }, go, h("label", { for: "trial-colours" }, colours, " ", t("models.trial.colours"))),
    result,
  );
}

function figures(found) {
  const rows = [
    ["perplexity", number(found.perplexity, 3)],
    ["top3", percent(found.top3, 1)],
    ["keystroke_savings", percent(found.keystroke_savings, 1)],
  ].map(([metric, value]) =>
    h(
      "div",
      { class: "score" },
      h("dt", {}, t(`models.metric.${metric}`)),
      h("dd", {}, value),
      h("dd", { class: "hint" }, t(`models.metric.${metric}.hint`)),
    ),
  );
  const unknown = found.unknown_share ? t("models.trial.unknown", { share: percent(found.unknown_share, 1) }) : "";
  const part =
    found.scored_tokens < found.tokens
      ? t("models.trial.part", { n: integer(found.scored_tokens), all: integer(found.tokens) })
      : t("models.trial.whole", { n: integer(found.tokens) });
  return [h("dl", { class: "scores" }, rows), h("p", { class: "hint" }, part, " ", unknown)];
}

const level = ({ log_probability }) => LEVELS.filter((limit) => Math.exp(log_probability) < limit).length;
const chance = ({ log_probability }) => percent(Math.exp(log_probability), log_probability < Math.log(0.01) ? 3 : 1);

/** The text, each word on a wash that is the deeper the less the model expected it; arrows read them one by one. */
function surprises(tokens) {
  const told = h("p", { class: "readout hint", "aria-live": "polite" }, t("models.trial.arrows"));
  const words = tokens.map((token) =>
    token.token === "\n"
      ? h("br")
      : h(
          "span",
          {
            class: `token surprise-${level(token)}${token.known ? "" : " unknown"}`,
            onpointerenter: () => tell(tokens.indexOf(token)),
          },
          token.token,
        ),
  );
  const readable = tokens.map((_, index) => index).filter((index) => tokens[index].token !== "\n");
  let at = -1;
  const tell = (index) => {
    words[readable[at]]?.classList.remove("here");
    at = readable.indexOf(index);
    words[index].classList.add("here");
    const token = tokens[index];
    told.textContent = t(token.known ? "models.trial.said" : "models.trial.said-unknown", {
      word: token.token,
      chance: chance(token),
    });
  };
  const step = (event) => {
    const to = {
      ArrowRight: at + 1,
      ArrowDown: at + 1,
      ArrowLeft: at - 1,
      ArrowUp: at - 1,
      Home: 0,
      End: readable.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    tell(readable[Math.min(Math.max(to, 0), readable.length - 1)]);
  };
  const legend = h(
    "p",
    { class: "legend hint" },
    [0, 1, 2, 3].map((each) => h("span", { class: `token surprise-${each}` }, t(`models.trial.level.${each}`))),
  );
  const hard = readable
    .map((index) => tokens[index])
    .filter((token) => token.known && level(token) > 1)
    .sort((a, b) => a.log_probability - b.log_probability)
    .slice(0, MOST_LISTED);
  const list = hard.map((token) => h("li", {}, token.token, " ", h("span", { class: "muted" }, chance(token))));
  const strange = [
    ...new Set(
      readable
        .map((index) => tokens[index])
        .filter((token) => !token.known)
        .map(({ token }) => token),
    ),
  ].slice(0, MOST_STRANGE);
  const named = (title, content) => h("div", {}, h("h3", {}, title), content);
  const text = h(
    "div",
    { class: "surprises", tabindex: "0", role: "group", "aria-label": t("models.trial.read"), onkeydown: step },
    words.flatMap((word) => [word, " "]),
  );
  const lists = [
    hard.length ? named(t("models.trial.hardest"), h("ol", { class: "hardest" }, list)) : null,
    strange.length ? named(t("models.trial.strange"), h("p", {}, strange.join(", "))) : null,
  ];
  return [legend, text, told, h("div", { class: "columns" }, lists)];
}
