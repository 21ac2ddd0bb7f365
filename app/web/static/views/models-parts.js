/** What the three pages of "models" share: kinds, sizes, samples, the reason of an activation, taking a file in. */
import { fill, h } from "../lib/dom.js";
import { ago, language, number, prose, t } from "../lib/i18n.js";
import { doing, field, problem, save, toast } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { metricName } from "./models-metrics.js";

export const STARTERS = ["next-word", "pictures", "faces"]; // they answer when no model is named, and cannot be deleted

/** "draws pictures" */
export const kind = (modality) => t(`models.kind.${modality}`);

const UNITS = ["byte", "kilobyte", "megabyte", "gigabyte"];

/** 23071964 -> "23 MB" */
export function bytes(count) {
  const power = count < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(count) / 3));
  const style = { style: "unit", unit: UNITS[power], maximumSignificantDigits: 2 };
  return new Intl.NumberFormat(language, style).format(count / 1000 ** power);
}

export const when = (time) => h("time", { datetime: time, title: new Date(time).toLocaleString(language) }, ago(time));

/** A picture by its address. With a key it is fetched: an <img> cannot send one. */
export function picture(path, alt, properties = {}) {
  const image = h("img", { alt, decoding: "async", ...properties });
  if (!state.client.key) image.src = state.client.url(path);
  else {
    const show = async () => {
      const address = URL.createObjectURL(await (await state.client.send("GET", path)).blob());
      image.addEventListener("load", () => URL.revokeObjectURL(address), { once: true });
      image.src = address;
    };
    show().catch(() => (image.alt = t("models.sample.unreadable")));
  }
  return image;
}

/** One sample of a card as it is shown: a picture, or a sentence. */
export function sample({ url, text }, card) {
  if (url)
    return picture(url, t("models.sample.alt", card), { class: card.modality === "number" ? "plotted" : "pixels" });
  return h("blockquote", {}, prose(text));
}

/** Why a version answers or not, as it was decided when it was made: the service's sentence in the reader's language. */
export function reason(text) {
  if (!text) return t("models.reason.none");
  const compared = /^(better|not better): (\w+) (\S+) against (\S+) of the active version/.exec(text);
  if (compared) {
    const [, verdict, metric, ours, theirs] = compared;
    const values = { metric: metricName(metric), ours: number(Number(ours), 4), theirs: number(Number(theirs), 4) };
    return t(verdict === "better" ? "models.reason.better" : "models.reason.worse", values);
  }
  if (text === "the first version") return t("models.reason.first");
  if (text.startsWith("scored on different")) return t("models.reason.different");
  if (text.startsWith("activate is"))
    return t(text.includes("always") ? "models.reason.always" : "models.reason.never");
  return text;
}

/** The job that made a version; null when there is none, it is gone, or the key may not see it. */
export const jobOf = (version) => (version.job_id ? state.client.job(version.job_id).catch(() => null) : null);

export function crumbs(...links) {
  const items = [["#/models", t("nav.models")], ...links].map(([href, label]) =>
    h("li", {}, href ? h("a", { href }, label) : label),
  );
  return h("nav", { class: "crumbs", "aria-label": t("models.crumbs") }, h("ol", {}, items));
}

export const address = (name, version) => `#/models/${encodeURIComponent(version ? `${name}@${version}` : name)}`;

export function download(name, version, properties) {
  const act = async () => save(await state.client.exportVersion(name, version), `${name}@${version}.inkling.zip`);
  return doing([t("models.download"), hidden(version)], act, properties);
}

/** Words that only a screen reader says, to tell equal buttons apart. */
export const hidden = (version) => h("span", { class: "visually-hidden" }, ` ${t("models.version", { v: version })}`);

/** Say why something cannot be done, in a dialog; false, so that the caller stops. */
export function tell(title, text) {
  const close = h("button", { autofocus: true, onclick: () => dialog.close() }, t("action.close"));
  const content = [h("h2", { id: "tell-title" }, title), h("p", {}, text), h("p", { class: "row end" }, close)];
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "tell-title", onclose: () => dialog.remove() },
    content,
  );
  document.body.append(dialog);
  dialog.showModal();
  return false;
}

/** A dialog with a form. `act` gets the form's data; what goes wrong is shown in the dialog, which keeps what was typed. */
export function ask(title, content, yes, act) {
  const said = h("div", { role: "status" });
  const close = () => dialog.close();
  const go = doing(yes, async () => (await act(new FormData(form)), close()), {
    into: said,
    class: "primary",
    type: "submit",
  });
  const buttons = h("p", { class: "row end" }, h("button", { type: "button", onclick: close }, t("action.cancel")), go);
  const form = h("form", { onsubmit: (event) => event.preventDefault() }, content, said, buttons);
  // The button acts on its click, which Enter in a field causes too; a field that is not valid has the last word.
  go.addEventListener("click", (event) => form.reportValidity() || event.stopImmediatePropagation(), { capture: true });
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "ask-title", onclose: () => dialog.remove() },
    h("h2", { id: "ask-title" }, title),
    form,
  );
  document.body.append(dialog);
  dialog.showModal();
}

/** Take in a file that another Inkling, or this one, gave. */
export function importDialog(navigate) {
  const file = h("input", { type: "file", name: "file", accept: ".zip,application/zip", required: true });
  const name = h("input", {
    name: "model",
    autocomplete: "off",
    pattern: "[a-z0-9]([a-z0-9._\\-]{0,62}[a-z0-9])?",
    placeholder: t("models.import.same"),
    title: t("models.import.name.hint"),
  });
  const options = ["if_better", "always", "never"].map((value) => h("option", { value }, t(`models.import.${value}`)));
  const fields = [
    h("p", { class: "hint" }, t("models.import.text")),
    field(t("models.import.file"), file),
    field(t("models.import.name"), name, t("models.import.name.hint")),
    field(t("models.import.activate"), h("select", { name: "activate" }, options)),
  ];
  ask(t("models.import"), fields, t("models.import.yes"), async (data) => {
    const card = await state.client.importModel(data.get("file"), {
      model: data.get("model"),
      activate: data.get("activate"),
    });
    toast(
      t(card.duplicate ? "models.import.duplicate" : card.active ? "models.import.active" : "models.import.done", {
        name: card.name,
        v: card.version,
      }),
    );
    navigate("models", `${card.name}@${card.version}`);
  });
}

/** Run `load`; what goes wrong stands in `root` with a way to try again. */
export async function guarded(root, signal, load) {
  try {
    await load();
  } catch (error) {
    if (!signal.aborted)
      fill(
        root,
        h("h1", {}, t("nav.models")),
        problem(error, { retry: () => (fill(root), guarded(root, signal, load)) }),
      );
  }
}
