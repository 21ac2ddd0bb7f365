/** Every string of the page, in English. The same names stand in the other languages' files (a test compares them). */
export default {
  // -- the frame
  "nav.label": "Inkling",
  "nav.skip": "Skip to the content",
  "nav.try": "Try",
  "nav.teach": "Teach",
  "nav.models": "Models",
  "nav.lecture": "Lecture",
  "nav.language": "Language",
  "nav.theme": "Light or dark",
  "status.starting": "Looking",
  "status.starting.more": "The page asks the service how it is.",
  "status.ready": "Ready",
  "status.ready.more": "Answers and trainings work.",
  "status.degraded": "Partly ready",
  "status.degraded.more": "Some models answer, others do not.",
  "status.no-worker": "Not training",
  "status.no-worker.more": "Answers work, but no worker is running: trainings wait until one is started.",
  "status.not-ready": "Not ready",
  "status.not-ready.more": "The service is up, but no model answers yet. It will in a moment, or after the first training.",
  "status.down": "No answer",
  "status.down.more": "The service does not answer. The page goes on trying; what you typed stays.",
  "key.title": "This service needs a key",
  "key.text": "Whoever runs it makes one with: python -m app keys create. It is kept in this browser.",
  "key.label": "Key",
  "key.use": "Use this key",
  "key.enter": "Enter a key",
  "key.change": "Change the key",
  "action.cancel": "Cancel",
  "action.retry": "Try again",
  "action.delete": "Delete",
  "action.close": "Close",
  "error.title": "That did not work",
  "error.down": "The service does not answer",
  "error.key": "A key is needed",
  "error.scope": "This key may not do that",
  "error.busy": "The service is busy; try again in a moment",
  "error.not-ready": "The service is not ready yet",
  "error.full": "The disk is full",
  "time.hm": "{h} h {m} min",
  "time.ms": "{m} min {s} s",
  "time.s": "{s} s",

  // -- try: words

  // -- try: pictures

  // -- teach

  // -- models

  // -- lecture
};
