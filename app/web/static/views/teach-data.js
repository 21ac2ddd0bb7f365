/** The first step: what to learn from. Files of one's own, or a data set that is there. */
import { fill, h } from "../lib/dom.js";
import { has, integer, t } from "../lib/i18n.js";
import { confirm, problem, toast } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { choose, draft } from "./teach-draft.js";
import { look, thumb } from "./teach-look.js";
import { uploader } from "./teach-upload.js";

/** `onChoose()`: `draft.dataset` is another one; `learnable(dataset)`: whether anything learns from it. */
export function dataStep({ datasets, next, signal, onChoose, learnable }) {
  const mine = h("div", { class: "sets" });
  const ready = h("div", { class: "sets" });
  const none = h("p", { class: "hint" }, t("teach.sets.none"));
  const inside = h("div", { class: "inside" });
  // With data of one's own chosen, those that come along would only stand between it and the next step.
  const builtin = h("details", { class: "ready-sets", open: true }, h("summary", { class: "sub" }, t("teach.sets.ready")), h("fieldset", {}, h("legend", { class: "visually-hidden" }, t("teach.sets.ready")), ready));
  const said = h("div", { role: "status" });
  const more = h("p", { class: "row" });

  function show(dataset) {
    choose(dataset);
    for (const input of section.querySelectorAll(".set input")) input.checked = input.value === dataset?.id;
    fill(inside, dataset ? look(dataset, { signal }) : h("p", { class: "muted" }, t("teach.look.none")));
    onChoose();
  }

  function add(dataset, place) {
    if (!learnable(dataset)) return;
    section
      .querySelector(`.set input[value="${CSS.escape(dataset.id)}"]`)
      ?.closest(".set")
      .remove();
    const card = setCard(dataset, { onChoose: () => show(dataset), onDelete: () => remove(dataset, card) });
    if (dataset.builtin) ready.append(card);
    else mine[place](card);
    none.hidden = mine.childElementCount > 0;
  }

  async function remove(dataset, card) {
    fill(said);
    if (!(await confirm(t("teach.delete", { title: dataset.title }), t("teach.delete.text"), t("action.delete"))))
      return;
    try {
      await state.client.deleteDataset(dataset.id);
    } catch (error) {
      return fill(said, problem(error)); // in use, for instance
    }
    const neighbour = card.nextElementSibling ?? card.previousElementSibling ?? ready.firstElementChild;
    card.remove();
    none.hidden = mine.childElementCount > 0;
    if (draft.dataset?.id === dataset.id) show(null);
    neighbour?.querySelector("input").focus();
    toast(t("teach.deleted", { title: dataset.title }));
  }

  const took = (dataset) => {
    if (signal.aborted) return choose(dataset); // the next look at this view shows it
    add(dataset, "prepend");
    builtin.open = false;
    show(dataset);
    inside.scrollIntoView({ block: "nearest" });
  };
  const files = uploader({ signal, onUploaded: took });

  const section = h(
    "section",
    { class: "teach-step", "aria-labelledby": "step-data" },
    h("h2", { id: "step-data" }, t("teach.data")),
    files,
    h("fieldset", { class: "stack" }, h("legend", { class: "sub" }, t("teach.sets.mine")), none, mine, more),
    builtin,
    said,
    inside,
  );
  const addAll = (page) => page.forEach((dataset) => add(dataset, "append"));
  const load = async (after) => {
    const page = await state.client.datasets({ limit: 100, after });
    addAll(page.datasets);
    offer(page.next);
  };
  const offer = (after) =>
    fill(
      more,
      after
        ? h(
            "button",
            { type: "button", onclick: () => load(after).catch((error) => fill(said, problem(error))) },
            t("teach.sets.more"),
          )
        : null,
    );
  addAll(datasets);
  offer(next);
  const chosen =
    draft.dataset && [...section.querySelectorAll(".set input")].some(({ value }) => value === draft.dataset.id);
  queueMicrotask(() => {
    builtin.open = !chosen || draft.dataset.builtin;
    show(chosen ? draft.dataset : null);
  }); // after the whole page is put together
  return section;
}

/** What a data set is called: the service's own in the reader's language. */
export const titleOf = ({ id, title }) => (has(`data.${id}`) ? t(`data.${id}`) : title);

/** One data set to choose: a radio button with what is known of it. */
function setCard(dataset, { onChoose, onDelete }) {
  const input = h("input", { type: "radio", name: "dataset", value: dataset.id, onchange: onChoose });
  const about = h(
    "span",
    { class: "set-about" },
    h("span", { class: "set-title" }, titleOf(dataset)),
    h("span", { class: "hint" }, size(dataset), dataset.licence === "not stated" ? null : ` · ${dataset.licence}`),
  );
  const label = h("label", {}, input, thumb(dataset), about);
  const away = dataset.builtin
    ? null
    : h(
        "button",
        {
          type: "button",
          class: "quiet small",
          onclick: onDelete,
          "aria-label": t("teach.delete.one", { title: dataset.title }),
        },
        t("action.delete"),
      );
  return h("div", { class: "set" }, label, away);
}

/** "A text, 31,102 lines" as far as it is known. */
export function size({ modality, counts }) {
  const kind = t(`teach.kind.${modality}`);
  if (counts.words) return `${kind}, ${t("teach.words", { n: counts.words, words: integer(counts.words) })}`;
  if (counts.pictures)
    return `${kind}, ${t("teach.pictures", { n: counts.pictures, pictures: integer(counts.pictures) })}`;
  return kind;
}
