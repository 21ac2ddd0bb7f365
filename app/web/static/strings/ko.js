/** 한국어. */
export default {
  // -- the frame
  "nav.label": "Inkling",
  "nav.skip": "본문으로 건너뛰기",
  "nav.try": "써 보기",
  "nav.teach": "가르치기",
  "nav.models": "모델",
  "nav.lecture": "강의",
  "nav.language": "언어",
  "nav.theme": "밝게 또는 어둡게",
  "status.starting": "확인 중",
  "status.starting.more": "서비스의 상태를 확인하고 있습니다.",
  "status.ready": "준비됨",
  "status.ready.more": "응답과 학습이 모두 됩니다.",
  "status.degraded": "일부 준비됨",
  "status.degraded.more": "일부 모델만 응답합니다.",
  "status.no-worker": "학습 불가",
  "status.no-worker.more": "응답은 되지만 작업자가 없습니다. 작업자가 시작될 때까지 학습은 기다립니다.",
  "status.not-ready": "준비 안 됨",
  "status.not-ready.more": "서비스는 켜져 있지만 아직 응답하는 모델이 없습니다. 잠시 뒤, 또는 첫 학습이 끝나면 응답합니다.",
  "status.down": "응답 없음",
  "status.down.more": "서비스가 응답하지 않습니다. 계속 다시 시도하며, 입력한 글은 그대로 남습니다.",
  "key.title": "이 서비스에는 키가 필요합니다",
  "key.text": "운영자가 python -m app keys create 로 만들 수 있습니다. 키는 이 브라우저에 보관됩니다.",
  "key.label": "키",
  "key.use": "이 키 사용",
  "key.enter": "키 입력",
  "key.change": "키 바꾸기",
  "action.cancel": "취소",
  "action.retry": "다시 시도",
  "action.delete": "삭제",
  "action.close": "닫기",
  "error.title": "실패했습니다",
  "error.down": "서비스가 응답하지 않습니다",
  "error.key": "키가 필요합니다",
  "error.scope": "이 키로는 할 수 없습니다",
  "error.busy": "서비스가 바쁩니다. 잠시 뒤 다시 시도하세요",
  "error.not-ready": "서비스가 아직 준비되지 않았습니다",
  "error.full": "디스크가 가득 찼습니다",
  "time.hm": "{h}시간 {m}분",
  "time.ms": "{m}분 {s}초",
  "time.s": "{s}초",

  // -- try: words

  // -- try: pictures

  // -- teach

  // -- models

  // -- lecture
};
