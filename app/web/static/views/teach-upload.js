/** Files of one's own: dropped anywhere on the view, or chosen; what is sent goes on when the view is left. */
import { fill, h, set } from "../lib/dom.js";
import { percent, t } from "../lib/i18n.js";
import { field, problem } from "../lib/parts.js";
import { state } from "../lib/state.js";
import { draft } from "./teach-draft.js";

const LIMITS = { licence: 1000, attribution: 1000 };

/** @returns an element; `onUploaded(dataset)` is called when the service has read the files. */
export function uploader({ signal, onUploaded }) {
  const picker = h("input", { type: "file", multiple: true, hidden: true });
  const button = h("button", { type: "button", class: "primary", onclick: () => picker.click() }, t("teach.choose"));
  const progress = h("div", { class: "upload-state", role: "status" });
  const hint = h("p", { class: "muted" }, t("teach.drop.text"));
  const zone = h(
    "div",
    { class: "drop" },
    h("p", { class: "drop-title" }, t("teach.drop")),
    h("div", { class: "drop-body" }, hint, progress),
    button,
    picker,
  );

  const wording = (name) => {
    const input = h("input", {
      type: "text",
      maxlength: LIMITS[name],
      value: draft[name],
      autocomplete: "off",
      oninput: () => (draft[name] = input.value),
    });
    return field(t(`teach.${name}`), input, t(`teach.${name}.hint`));
  };
  const more = h(
    "details",
    {},
    h("summary", {}, t("teach.terms")),
    h("div", { class: "columns" }, wording("licence"), wording("attribution")),
  );

  picker.addEventListener("change", () => (send([...picker.files]), (picker.value = "")));
  const dragged = (event) => event.dataTransfer?.types.includes("Files");
  const over = (on) => (event) => {
    if (!dragged(event)) return;
    event.preventDefault(); // else the browser would open the file in the page's place
    set(zone, { "data-over": on });
  };
  window.addEventListener("dragover", over(true), { signal });
  window.addEventListener("dragleave", (event) => event.relatedTarget ?? over(false)(event), { signal });
  window.addEventListener(
    "drop",
    (event) => (over(false)(event), dragged(event) && send([...event.dataTransfer.files])),
    { signal },
  );

  let sending = 0;
  async function send(files) {
    if (!files.length) return;
    set(hint, { "data-hidden": true }); // what happens to the files stands in its place
    const mine = ++sending; // the last that was chosen counts
    const what = files.length === 1 ? files[0].name : t("teach.files", { n: files.length });
    const bar = h("span");
    const share = h("span", { class: "muted" });
    const words = h("span", {}, t("teach.sending", { what }));
    fill(
      progress,
      h("p", { class: "row spread" }, words, share),
      h("div", { class: "progress", "aria-hidden": "true" }, bar),
    );
    const onProgress = (sent) => {
      bar.style.width = `${100 * sent}%`;
      fill(share, percent(sent));
      if (sent === 1) fill(words, t("teach.reading", { what }));
    };
    try {
      const { licence, attribution } = draft;
      const dataset = await state.client.upload(files, { licence, attribution }, { onProgress });
      if (mine !== sending) return;
      fill(progress, h("p", { class: "good" }, t(dataset.duplicate ? "teach.known" : "teach.read", { what })));
      onUploaded(dataset);
    } catch (error) {
      if (mine === sending) fill(progress, problem(error, { retry: () => send(files) }));
    }
  }

  return h("div", { class: "stack" }, zone, more);
}
