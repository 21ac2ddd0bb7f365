/** What a data set holds: its first lines or pictures, what reading it found, its licence. */
import { fill, h, svg } from "../lib/dom.js";
import { integer, t } from "../lib/i18n.js";
import { facts, problem } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { size, titleOf } from "./teach-data.js";

const LINES = 6;

/** The panel; what must be asked for comes into space that is kept for it. */
export function look(dataset, { signal }) {
  const preview = h(
    "div",
    { class: "inside-preview", "aria-busy": "true" },
    h("p", { class: "muted" }, dataset.prepared ? t("teach.look.loading") : t("teach.look.making")),
  );
  const details = h("div", { class: "stack" }, about(dataset));
  const load = async () => {
    // A built-in data set is made for its first preview; its counts are known from then on.
    const content = await state.client.preview(dataset.id);
    if (signal.aborted) return;
    preview.removeAttribute("aria-busy");
    fill(preview, content instanceof Blob ? pictures(content, dataset) : lines(content));
    const whole = await state.client.dataset(dataset.id);
    if (signal.aborted) return;
    fill(details, about(whole), report(whole), content instanceof Blob ? null : common(content));
  };
  load().catch((error) => signal.aborted || (preview.removeAttribute("aria-busy"), fill(preview, problem(error))));
  return h("div", { class: "inside-panel" }, preview, details);
}

function about(dataset) {
  const terms = dataset.licence === "not stated" ? t("teach.licence.none") : dataset.licence;
  const maker = dataset.attribution === "uploaded" ? t("teach.attribution.none") : dataset.attribution;
  return h(
    "div",
    { class: "stack" },
    h("h3", {}, titleOf(dataset)),
    facts([
      [t("teach.holds"), size(dataset)],
      [t("teach.licence"), terms],
      [t("teach.attribution"), maker],
    ]),
  );
}

/** What stands on a data set's card: some of its pictures, or a sign of its kind. One that must be made first is not made for this. */
export function thumb({ id, modality, prepared }) {
  const place = h(
    "span",
    { class: "thumb", "aria-hidden": "true" },
    svg("svg", { viewBox: "0 0 24 24" }, svg("path", { d: SIGNS[modality] })),
  );
  const load = async () => {
    const address = URL.createObjectURL(await state.client.preview(id));
    fill(place, h("img", { src: address, alt: "", class: "pixels", onload: () => URL.revokeObjectURL(address) }));
  };
  if (modality === "image" && prepared) load().catch(() => {}); // the sign stays
  return place;
}

const SIGNS = {
  text: "M4 6h16M4 10h16M4 14h16M4 18h9",
  image: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h1",
  number: "M3 18h18M4 17c4 0 4-10 8-10s4 10 8 10",
};

const lines = ({ lines: all }) =>
  h(
    "ol",
    { class: "lines" },
    all.slice(0, LINES).map((line) => h("li", {}, line)),
  );

function common({ common_words: words }) {
  if (!words?.length) return null;
  const shown = words
    .slice(0, 12)
    .map(({ word, count }) => h("li", {}, word, " ", h("span", { class: "muted" }, integer(count))));
  return h("div", {}, h("p", { class: "hint" }, t("teach.common")), h("ul", { class: "row common" }, shown));
}

function pictures(blob, dataset) {
  const address = URL.createObjectURL(blob);
  const free = () => URL.revokeObjectURL(address);
  return h("img", {
    src: address,
    alt: t("teach.look.alt", dataset),
    class: dataset.modality === "image" ? "pixels" : "",
    onload: free,
  });
}

/** What reading the files found, where it is not simply all of it. */
function report({ report: found, duplicate, classes, modality }) {
  const rows = [];
  if (duplicate) rows.push(t("teach.report.duplicate"));
  if (modality === "image" && classes.length > 1)
    rows.push(t("teach.report.classes", { n: classes.length, names: classes.slice(0, 8).join(", ") }));
  rows.push(...(found?.notes ?? []));
  if (found?.skipped_count)
    rows.push(t("teach.report.skipped", { n: found.skipped_count, count: integer(found.skipped_count) }));
  const skipped = (found?.skipped ?? []).map(({ where, reason }) => h("li", {}, h("code", {}, where), " ", reason));
  if (!rows.length) return null;
  return h(
    "div",
    { class: "report" },
    rows.map((row) => h("p", {}, row)),
    skipped.length ? h("ul", {}, skipped) : null,
  );
}
