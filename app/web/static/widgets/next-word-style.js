/** How the widget looks, as constructed style sheets: they work under a content security policy without inline styles. */
const sheet = (text) => {
  const made = new CSSStyleSheet();
  made.replaceSync(text);
  return made;
};

/** Inside <next-word>: the grey words and the corner to teach in. */
export const inside = sheet(`
  :host { display: block; position: relative; font: inherit; }
  :host([hidden]) { display: none; }
  [hidden] { display: none !important; }
  .layer { position: absolute; left: 0; top: 0; z-index: 1; box-sizing: border-box; margin: 0; border: 0; overflow: hidden; pointer-events: none; user-select: none; -webkit-user-select: none; }
  .before { visibility: hidden; }
  [part="ghost"] { unicode-bidi: isolate; color: var(--inkling-ghost, color-mix(in srgb, currentColor 62%, transparent)); }
  .teach { display: grid; gap: 0.5em; justify-items: start; margin-top: 0.5em; font-size: 0.875em; }
  .teach p { margin: 0; max-width: 40em; }
  .teach q { overflow-wrap: anywhere; }
  .row { display: flex; flex-wrap: wrap; gap: 0.5em; align-items: center; }
  button { font: inherit; color: inherit; min-height: 2.25em; padding: 0.25em 0.9em; cursor: pointer; background: transparent; border: 1px solid var(--inkling-line, color-mix(in srgb, currentColor 45%, transparent)); border-radius: var(--inkling-radius, 6px); }
  button:hover { border-color: currentColor; }
  :focus-visible { outline: 2px solid var(--inkling-accent, Highlight); outline-offset: 2px; }
`);

/** Around it, in the tree of the text box: a list must stand there for the box to name it to a screen reader. */
export const around = sheet(`
  next-word > [part="hint"] { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
  next-word > [part="list"] { display: flex; gap: 0.375em; margin: 0.5em 0 0; padding: 2px; min-height: 2.5em; box-sizing: border-box; overflow-x: auto; scrollbar-width: none; font: inherit; font-size: 0.9375em; line-height: 1.3; }
  next-word > [part="list"][data-empty] { visibility: hidden; }
  next-word > [part="list"][data-old] { pointer-events: none; }
  next-word [part="option"] { display: flex; align-items: center; flex: none; gap: 0.5em; padding: 0.25em 0.75em; cursor: pointer; border-radius: var(--inkling-radius, 6px); border: 1px solid var(--inkling-line, color-mix(in srgb, currentColor 35%, transparent)); touch-action: manipulation; user-select: none; -webkit-user-select: none; }
  next-word [part="option"]:hover { border-color: currentColor; }
  next-word [part="option"][aria-selected="true"] { outline: 2px solid var(--inkling-accent, Highlight); outline-offset: -1px; }
  next-word [part="track"], next-word:not([list="bars"]) [part="share"] { display: none; }
  next-word[list="none"] > [part="list"] { display: none; }
  next-word[list="bars"] > [part="list"] { display: grid; grid-auto-rows: 2.25em; gap: 0; overflow: visible; min-height: calc(2.25em * var(--rows, 5) + 4px); align-content: start; }
  next-word[list="bars"] [part="option"] { display: grid; grid-template-columns: minmax(0, 9em) 1fr 3.5em; gap: 0.75em; padding: 0 0.5em; border-color: transparent; white-space: nowrap; }
  next-word[list="bars"] [part="option"]:hover { background: color-mix(in srgb, currentColor 6%, transparent); }
  next-word[list="bars"] [part="word"] { overflow: hidden; text-overflow: ellipsis; }
  next-word[list="bars"] [part="track"] { display: block; height: 0.5em; border-radius: 1em; overflow: hidden; background: var(--inkling-track, color-mix(in srgb, currentColor 12%, transparent)); }
  next-word [part="bar"] { display: block; height: 100%; border-radius: inherit; background: var(--inkling-accent, currentColor); }
  next-word[list="bars"] [part="share"] { text-align: end; font-variant-numeric: tabular-nums; color: var(--inkling-soft, inherit); }
`);

/** Inside <next-word-input>. */
export const input = sheet(`
  :host { display: block; font: inherit; }
  :host([hidden]) { display: none; }
  [part="box"] { display: block; box-sizing: border-box; width: 100%; margin: 0; padding: 0.6em 0.8em; font: inherit; line-height: 1.5; color: inherit; background: var(--inkling-paper, transparent); border: 1px solid var(--inkling-line, color-mix(in srgb, currentColor 45%, transparent)); border-radius: var(--inkling-radius, 6px); resize: vertical; }
  [part="box"]:focus-visible { outline: 2px solid var(--inkling-accent, Highlight); outline-offset: 1px; }
`);
