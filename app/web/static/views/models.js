/** The models there are; #/models/<name> compares one's versions, #/models/<name>@<version> is a version's card. */
import { fill, h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";
import { empty } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { showCard } from "./models-card.js";
import { address, bytes, guarded, importDialog, kind, picture, sample, when } from "./models-parts.js";
import { showVersions } from "./models-versions.js";

const AT_ONCE = 50;

export default async function show(root, { parameters, signal, navigate }) {
  const [name, version] = (parameters[0] ?? "").split("@");
  const page = version ? showCard : name ? showVersions : showList;
  await guarded(root, signal, () => page(root, { name, version: Number(version), signal, navigate }));
}

async function showList(root, { signal, navigate }) {
  const shelf = h("ul", { class: "shelf" });
  const more = h("p", { class: "row" });
  const take = h("button", { type: "button", onclick: () => importDialog(navigate) }, t("models.import"));
  const head = h(
    "div",
    { class: "stack" },
    h("div", { class: "row spread" }, h("h1", {}, t("nav.models")), take),
    h("p", { class: "lead" }, t("models.lead")),
  );
  h(root, {}, head, shelf, more);

  const load = async (after) => {
    const { models, next } = await state.client.models({ limit: AT_ONCE, after });
    if (signal.aborted) return;
    shelf.append(...models.map((model) => book(model, signal)));
    if (!after && !models.length) shelf.replaceWith(nothing());
    fill(more, next ? h("button", { type: "button", onclick: () => load(next) }, t("models.more")) : null);
  };
  await load();
}

const nothing = () =>
  empty(t("models.none"), t("models.none.text"), h("a", { class: "button primary", href: "#/teach" }, t("nav.teach")));

/** One model of the list. What only its card knows comes in a moment, into space that is kept for it. */
function book(model, signal) {
  const look = h("div", { class: `cover ${model.modality}` });
  const line = h("p", { class: "hint" });
  const link = h("a", { href: address(model.name) }, model.name);
  const element = h(
    "li",
    { class: "card book" },
    look,
    h("div", {}, h("h2", {}, link), h("p", { class: "muted" }, kind(model.modality))),
    line,
  );
  details(model, look, line, signal).catch((error) => signal.aborted || fill(line, error.message));
  return element;
}

async function details(model, look, line, signal) {
  if (!model.active) return fill(line, t("models.no-active"));
  const [{ versions }, card] = await Promise.all([
    state.client.model(model.name),
    state.client.version(model.name, model.active),
  ]);
  if (signal.aborted) return;
  const [first] = card.samples;
  if (first?.url)
    fill(look, picture(first.url, t("models.sample.alt", card), { class: model.modality === "image" ? "pixels" : "" }));
  else if (first) fill(look, sample(first, card));
  const which =
    versions.length > 1 ? t("models.answers-of", { v: card.version, n: versions.length }) : t("models.only-version");
  fill(line, which, " · ", when(card.created_at), " · ", bytes(card.bytes));
}
