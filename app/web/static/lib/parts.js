/** The small parts that views are made of: messages, empty states, dialogs, bars. */
import { h, fill } from "./dom.js";
import { number, percent, t } from "./i18n.js";

/** A short message at the edge of the page; it goes by itself. */
export function toast(text, kind = "") {
  const message = h("p", { class: `toast ${kind}` }, text);
  document.querySelector(".toasts").append(message);
  setTimeout(() => message.remove(), 6000);
}

/** The service's sentence for a reader: what it tells a program to do is left out ("choose one with PUT /models/…"). */
export function plain(message) {
  const call = /\b(GET|POST|PUT|DELETE) \//;
  const kept = message.split(/(?<=[;.]) /).filter((part) => !call.test(part));
  const text = kept.join(" ").replace(/;$/, "");
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /^\S+\.\w/.test(text) ? text : begun; // a file's name keeps its letters
}

const REFUSED = [403, 413, 415, 422]; // the same again is refused again

/** What went wrong, in the service's own words, and what to do now. */
export function problem(error, { retry } = {}) {
  const known = { 0: "error.down", 401: "error.key", 403: "error.scope", 429: "error.busy", 503: "error.not-ready", 507: "error.full" };
  const more = (error.errors ?? []).filter(({ detail }) => !error.message.includes(detail));
  const errors = more.map(({ pointer, detail }) => h("li", {}, pointer ? h("code", {}, pointer) : null, " ", detail));
  return h(
    "div",
    { class: "problem", role: "alert" },
    h("p", { class: "problem-title" }, known[error.status] ? t(known[error.status]) : t("error.title")),
    h("p", {}, plain(error.message)),
    errors.length ? h("ul", {}, errors) : null,
    retry && !REFUSED.includes(error.status) ? h("button", { onclick: retry }, t("action.retry")) : null,
  );
}

/** Nothing here yet: why, and the way on. */
export function empty(title, text, ...actions) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", {}, text), actions.length ? h("p", { class: "row" }, actions) : null);
}

/** Ask before something that cannot be undone; true for yes. */
export function confirm(title, text, yes, { danger = true } = {}) {
  return new Promise((resolve) => {
    const answer = (value) => () => (resolve(value), dialog.close());
    const dialog = h(
      "dialog",
      { class: "dialog", "aria-labelledby": "dialog-title", onclose: () => (resolve(false), dialog.remove()) },
      h("h2", { id: "dialog-title" }, title),
      h("p", {}, text),
      h(
        "p",
        { class: "row end" },
        h("button", { autofocus: true, onclick: answer(false) }, t("action.cancel")),
        h("button", { class: danger ? "danger" : "primary", onclick: answer(true) }, yes),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** A number between 0 and 1 as a thin meter with its value beside it. */
export function meter(label, value, { digits = 0 } = {}) {
  const bar = h("span", { class: "meter-bar" });
  bar.style.width = `${100 * Math.min(1, Math.max(0, value))}%`;
  return h("span", { class: "meter" }, h("span", { class: "meter-label" }, label), h("span", { class: "meter-track", "aria-hidden": "true" }, bar), h("span", { class: "meter-value" }, percent(value, digits)));
}

/** Names and values side by side. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, typeof value === "number" ? number(value, 3) : value))));
}

/** A labelled control; `hint` is read with it. */
export function field(label, control, hint) {
  control.id ||= `field-${++fields}`;
  if (hint) control.setAttribute("aria-describedby", `${control.id}-hint`);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, hint ? h("p", { class: "hint", id: `${control.id}-hint` }, hint) : null);
}
let fields = 0;

/** A button that is busy while its action runs; what goes wrong is shown in `into`. */
export function doing(label, act, { into, ...properties } = {}) {
  const button = h("button", { type: "button", ...properties }, label);
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true"); // not `disabled`: that would lose the focus
    if (into) fill(into);
    try {
      await act();
    } catch (error) {
      if (into) fill(into, problem(error));
      else toast(plain(error.message), "bad");
    } finally {
      button.removeAttribute("aria-disabled");
    }
  });
  return button;
}

/** Let the browser save a Blob as a file. */
export function save(blob, name) {
  const address = URL.createObjectURL(blob);
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
