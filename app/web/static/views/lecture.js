/** The lecture: two lessons on the real service, each started by one button, fit to be projected. */
import { h } from "../lib/dom.js";
import { t } from "../lib/i18n.js";

const LESSONS = { lstm: () => import("./lecture-lstm.js"), gan: () => import("./lecture-gan.js") };

export default async function show(root, { parameters, signal }) {
  const name = parameters[0] in LESSONS ? parameters[0] : "lstm";
  const links = Object.keys(LESSONS).map((each) => h("a", { href: `#/lecture/${each}`, "aria-current": each === name ? "page" : null }, t(`lecture.${each}.tab`)));
  const { default: lesson } = await LESSONS[name]();
  if (signal.aborted) return;
  h(
    root,
    {},
    h("div", { class: "row spread lesson-bar" }, h("nav", { class: "lessons", "aria-label": t("lecture.lessons") }, links), projector(signal)),
    h("header", { class: "stack" }, h("h1", {}, t(`lecture.${name}.title`)), h("p", { class: "lead" }, t(`lecture.${name}.lead`))),
  );
  lesson(root, { signal });
}

/** Full screen, larger type, plain black and white. It stays for both lessons and ends with the view or with Escape. */
function projector(signal) {
  const page = document.documentElement;
  const isOn = () => page.classList.contains("projector");
  const button = h("button", { type: "button" });
  const say = () => {
    button.textContent = t(isOn() ? "lecture.projector.off" : "lecture.projector.on");
    button.setAttribute("aria-pressed", String(isOn()));
  };
  const turn = (on) => {
    page.classList.toggle("projector", on);
    // A browser may refuse the whole screen; the large type comes all the same.
    if (on) page.requestFullscreen?.().catch(() => {});
    else if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    say();
  };
  button.addEventListener("click", () => turn(!isOn()));
  document.addEventListener("fullscreenchange", () => document.fullscreenElement || !isOn() || turn(false), { signal });
  document.addEventListener("keydown", (event) => event.key === "Escape" && isOn() && turn(false), { signal });
  signal.addEventListener("abort", () => location.hash.startsWith("#/lecture") || turn(false));
  say();
  return button;
}
