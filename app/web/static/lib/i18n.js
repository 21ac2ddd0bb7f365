/** The page's strings: one file a language, the same names in each. English answers where a name is missing. */
import en from "../strings/en.js";
import ko from "../strings/ko.js";

export const LANGUAGES = { en: "English", ko: "한국어" };
const STRINGS = { en, ko };
const KEPT = "inkling-language";

export let language = chosen();

function chosen() {
  const wanted = [read(KEPT), ...navigator.languages].map((name) => name?.slice(0, 2));
  return wanted.find((name) => name in STRINGS) ?? "en";
}

export function setLanguage(name) {
  language = name;
  write(KEPT, name);
  document.documentElement.lang = name;
}

/** The string called `name`, `{n}` in it replaced by `values.n`. `values.n` = 1 takes `name.one` where there is one. */
export function t(name, values = {}) {
  const one = values.n === 1 ? `${name}.one` : name;
  const text = STRINGS[language][one] ?? STRINGS[language][name] ?? en[one] ?? en[name];
  if (text === undefined) throw new Error(`no string is called ${name}`);
  return text.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? String(values[key]) : whole));
}

export const has = (name) => name in en;

export const number = (value, digits = 2) =>
  new Intl.NumberFormat(language, { maximumSignificantDigits: Math.max(digits, 1) }).format(value);
export const integer = (value) => new Intl.NumberFormat(language, { maximumFractionDigits: 0 }).format(value);
export const percent = (share, digits = 0) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: digits }).format(share);

/** A model's words with its marks where a reader expects them: "say , I" -> "say, I". */
export const prose = (words) =>
  words.replace(/ ([,.;:!?…)\]}”’%])(?=\s|$)/g, "$1").replace(/([([{“‘]) /g, "$1");

/** Figures below each other: as many digits each, "1.40" beside "1.41". */
export const figure = (value, digits = 3) =>
  new Intl.NumberFormat(language, {
    minimumSignificantDigits: Math.abs(value) < 10 ** (digits - 1) ? digits : 1,
    maximumSignificantDigits: digits,
  }).format(value);

/** "3 minutes ago" */
export function ago(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? units[3];
  return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(Math.round(seconds / size), unit);
}

/** 75 -> "1 min 15 s" */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (hours) return t("time.hm", { h: hours, m: minutes });
  if (minutes) return t("time.ms", { m: minutes, s: rest });
  return t("time.s", { s: rest });
}

export function read(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // storage is switched off: nothing is remembered
  }
}

export function write(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    /* as above */
  }
}
