// Before the first paint, so that a chosen theme does not flash the other one.
try {
  const theme = localStorage.getItem("inkling-theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  /* storage is switched off: the system's theme */
}
