/** The few words that the widget itself says. */
export const STRINGS = {
  en: {
    label: "Text with suggestions",
    list: "Suggestions",
    hint: "Words are suggested as you type. Right arrow or Tab takes the grey words, Alt and right arrow one of them, Down arrow goes to the list, Escape hides them.",
    hintRtl:
      "Words are suggested as you type. Left arrow or Tab takes the grey words, Alt and left arrow one of them, Down arrow goes to the list, Escape hides them.",
    teach: "Teach this text",
    consent:
      "The service at {host} will keep this text, suggest its words to everyone who writes with the model “{model}”, and use it in the next training. You can take it back here.",
    agree: "Keep it",
    cancel: "Cancel",
    taught: "Learned.",
    forget: "Forget it again",
    forgotten: "Forgotten.",
    trained: "Forgotten. Versions that were trained with it already may still know it: {versions}.",
    nothing: "Write something first.",
  },
  ko: {
    label: "추천이 나오는 입력란",
    list: "추천 단어",
    hint: "입력하면 단어를 추천합니다. 오른쪽 화살표나 탭은 회색 글을 모두, 알트와 오른쪽 화살표는 한 단어만 받아들입니다. 아래 화살표는 목록으로 가고, Esc는 추천을 숨깁니다.",
    hintRtl:
      "입력하면 단어를 추천합니다. 왼쪽 화살표나 탭은 회색 글을 모두, 알트와 왼쪽 화살표는 한 단어만 받아들입니다. 아래 화살표는 목록으로 가고, Esc는 추천을 숨깁니다.",
    teach: "이 글 가르치기",
    consent:
      "{host} 서비스가 이 글을 보관하고, “{model}” 모델을 쓰는 모든 사람에게 이 글의 단어를 추천하며, 다음 학습에 사용합니다. 여기서 되돌릴 수 있습니다.",
    agree: "보관하기",
    cancel: "취소",
    taught: "배웠습니다.",
    forget: "다시 잊게 하기",
    forgotten: "잊었습니다.",
    trained: "잊었습니다. 이미 이 글로 학습한 버전은 아직 알고 있을 수 있습니다: {versions}.",
    nothing: "먼저 글을 써 주세요.",
  },
};

/** The strings for an element: of its `lang`, or that of the nearest ancestor which has one, or of the browser. */
export function stringsFor(element) {
  const wanted = [element.closest("[lang]")?.lang, document.documentElement.lang, navigator.language];
  const name = wanted
    .filter(Boolean)
    .map((each) => each.slice(0, 2).toLowerCase())
    .find((each) => each in STRINGS);
  return { ...STRINGS.en, ...STRINGS[name], language: name ?? "en" };
}
