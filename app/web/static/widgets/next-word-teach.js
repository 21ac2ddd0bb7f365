/** The corner of <next-word teach>: what was written goes to the model when, and only when, the writer agrees. */
import { InklingError } from "../web/lib/client.js";

const make = (tag, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

/**
 * Fill `root` for `widget`. It asks before each text, shows the very text, and offers to take it back. A key that may
 * not teach (403) makes the corner go away: who embeds the widget sees to keys, not who writes.
 */
export function teachCorner(root, widget, say) {
  const model = () => widget.model.split("@")[0]; // a version cannot be taught, its model can
  const fill = (...children) => root.replaceChildren(...children);
  const button = (text, part, onclick) => make("button", { type: "button", textContent: text, part, onclick });
  const start = (said = "") => fill(make("p", { className: "row" }, button(say.teach, "teach", ask), note(said)));
  const note = (said) => make("span", { role: "status", textContent: said });

  function ask() {
    const text = widget.text.trim();
    if (!text) return (start(say.nothing), root.querySelector("button").focus());
    const said = say.consent.replace("{host}", new URL(widget.client.base).host).replace("{model}", model());
    const agree = button(say.agree, "agree", () => attempt(() => learn(text)));
    const cancel = button(say.cancel, "cancel", () => (start(), root.querySelector("button").focus()));
    fill(
      make("p", {}, make("q", { textContent: text, part: "phrase" })),
      make("p", { part: "consent", textContent: said }),
      make("p", { className: "row" }, agree, cancel),
    );
    agree.focus();
  }

  async function learn(text) {
    await widget.client.learn(model(), text);
    widget.learned({ text, model: model(), forgotten: false });
    const forget = button(say.forget, "forget", () => attempt(() => takeBack(text)));
    fill(make("p", { className: "row" }, note(say.taught), forget));
    forget.focus();
  }

  async function takeBack(text) {
    const { seen_by } = await widget.client.forget(model(), text);
    widget.learned({ text, model: model(), forgotten: true });
    start(seen_by.length ? say.trained.replace("{versions}", seen_by.join(", ")) : say.forgotten);
    root.querySelector("button").focus();
  }

  async function attempt(act) {
    try {
      await act();
    } catch (error) {
      if (!(error instanceof InklingError)) throw error;
      if ([401, 403].includes(error.status)) return (root.hidden = true);
      root.querySelector("[role=alert]")?.remove();
      root.append(make("p", { role: "alert", textContent: error.message }));
    }
  }

  start();
}
