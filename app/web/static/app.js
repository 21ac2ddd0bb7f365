/** The page's frame: navigation, language, theme, the service's state. Views know nothing of each other. */
import { fill, h, set } from "./lib/dom.js";
import { LANGUAGES, language, setLanguage, t, write } from "./lib/i18n.js";
import { state } from "./lib/state.js";
import { Inkling, InklingError } from "./lib/client.js";
import { field, plain, problem } from "./lib/parts.js";

const VIEWS = ["try", "teach", "models", "lecture"];
const main = document.querySelector("main");
let leave = new AbortController();

function frame() {
  document.documentElement.lang = language;
  document.querySelector(".skip").textContent = t("nav.skip");
  const links = VIEWS.map((name) => h("a", { href: `#/${name}`, "data-view": name }, t(`nav.${name}`)));
  const nav = fill(document.querySelector(".tabs"), links);
  nav.setAttribute("aria-label", t("nav.label"));
  fill(document.querySelector(".tools"), status, keySlot, languages(), themes());
  showStatus();
}

const status = h("span", { class: "status", role: "status" });
const keySlot = h("span", { class: "key-slot" });

let withoutWorker = 0; // looks in a row: a service that has just started has no worker for a moment

function showStatus() {
  withoutWorker = state.status === "ready" && state.health.worker === "down" ? withoutWorker + 1 : 0;
  const name = withoutWorker > 1 ? "no-worker" : state.status.replace(" ", "-");
  if (status.dataset.says !== `${name} ${language}`) fill(status, h("span", { class: `dot ${name}`, "aria-hidden": "true" }), h("span", { class: "status-text" }, t(`status.${name}`)));
  status.dataset.says = `${name} ${language}`; // a live region: filled again, it would be read again
  status.title = [t(`status.${name}.more`), ...Object.values(state.health.problems ?? {})].join(" ");
  document.documentElement.dataset.status = name;
  fill(keySlot, keyButton());
  showNotice(name);
}

/** Plain words over the page while something is wrong. It floats, so that nothing moves. */
function showNotice(name) {
  const before = document.querySelector(".notice");
  const needsKey = state.status !== "down" && state.health.keys === "required" && !state.client.key;
  const wrong = needsKey ? "key" : ["ready", "starting", "degraded"].includes(name) ? "" : name;
  if ((before?.dataset.says ?? "") === wrong && before?.lang === language) return; // not read out again
  before?.remove();
  if (!wrong) return;
  const says = needsKey
    ? [h("strong", {}, t("key.title")), " ", h("button", { class: "small", onclick: askForKey }, t("key.enter"))]
    : [h("strong", {}, t(`status.${name}`)), " ", t(`status.${name}.more`)];
  document.body.append(h("div", { class: "notice", role: "alert", "data-says": wrong, lang: language }, says));
}

function keyButton() {
  if (state.health.keys !== "required") return null;
  const says = state.client.key ? t("key.change") : t("key.enter");
  return h("button", { class: "quiet", "aria-label": says, title: says, onclick: askForKey }, t("key.label"));
}

function askForKey() {
  const input = h("input", { type: "password", autocomplete: "off", value: state.client.key, required: true });
  const said = h("p", { class: "field-error", role: "alert" });
  const keep = async (event) => {
    event.preventDefault();
    fill(said);
    const tried = new Inkling({ key: input.value.trim() });
    const spelled = /^[!-~]+$/.test(tried.key); // nothing else can stand in a header
    const error = spelled ? await tried.models({ limit: 1 }).then(() => null, (error) => error) : { status: 401 };
    if (error?.status === 401 || error?.status === 403) {
      fill(said, error.status === 401 ? t("key.wrong") : plain(error.message));
      return input.select(); // what was typed stays
    }
    state.setKey(tried.key);
    dialog.close();
    frame();
    go();
  };
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-labelledby": "key-title", onclose: () => dialog.remove() },
    h("h2", { id: "key-title" }, t("key.title")),
    h("form", { onsubmit: keep }, h("p", {}, t("key.text")), field(t("key.label"), input), said, h("p", { class: "row end" }, h("button", { type: "button", onclick: () => dialog.close() }, t("action.cancel")), h("button", { class: "primary" }, t("key.use")))),
  );
  document.body.append(dialog);
  dialog.showModal();
}

function languages() {
  const options = Object.entries(LANGUAGES).map(([value, name]) => h("option", { value, selected: value === language }, name));
  const change = ({ target }) => (setLanguage(target.value), frame(), go());
  return h("select", { class: "quiet", "aria-label": t("nav.language"), onchange: change }, options);
}

function themes() {
  const dark = () => getComputedStyle(document.documentElement).getPropertyValue("--is-dark").trim() === "1";
  const turn = () => {
    const theme = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    write("inkling-theme", theme);
    window.dispatchEvent(new Event("themechange"));
  };
  return h("button", { class: "quiet icon", "aria-label": t("nav.theme"), title: t("nav.theme"), onclick: turn }, h("span", { class: "theme-icon", "aria-hidden": "true" }));
}

/** `#/models/next-word@3` -> the view "models" with ["next-word@3"]. */
async function go() {
  const [name, ...parameters] = location.hash.replace(/^#\/?/, "").split("/").filter(Boolean).map(decodeURIComponent);
  if (name === "main") return main.focus();
  const view = VIEWS.includes(name) ? name : "try";
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  for (const link of document.querySelectorAll(".tabs a")) set(link, { "aria-current": link.dataset.view === view ? "page" : null });
  document.title = `${t(`nav.${view}`)} · Inkling`;
  const root = h("div", { class: `view ${view}` });
  try {
    const { default: show } = await import(`./views/${view}.js`);
    if (signal.aborted) return;
    fill(main, root);
    await show(root, { parameters, signal, navigate });
  } catch (error) {
    if (signal.aborted) return;
    // A module that could not be fetched stays failed in this document: only a new one asks again.
    const retry = error instanceof InklingError ? go : () => location.reload();
    fill(main, problem(error instanceof InklingError ? error : new InklingError(0, { detail: error.message }), { retry }));
    state.addEventListener("health", () => state.status === "ready" && retry(), { signal });
  }
}

/** Go to an address within the page: navigate("models", "next-word"). */
function navigate(...parts) {
  location.hash = `#/${parts.map(encodeURIComponent).join("/")}`;
}

const inPage = document.querySelector(".skip");
inPage.addEventListener("click", (event) => (event.preventDefault(), main.focus()));

frame();
state.addEventListener("look", showStatus);
state.watch();
window.addEventListener("hashchange", () => go().then(() => (main.focus({ preventScroll: true }), scrollTo(0, 0))));
go();
