"""POST /predict-next-word."""

import json
from pathlib import Path
from unittest import mock

import httpx
import pytest
from fastapi import FastAPI

from app.core.config import Settings
from app.main import create_app
from tests.app.problems import problem

ROUTE = "/predict-next-word"


async def ask(client: httpx.AsyncClient, text: str, **more: object) -> dict:
    response = await client.post(ROUTE, json={"text": text, **more})
    assert response.status_code == 200, response.text
    return response.json()


async def test_starter_knows_its_book(client: httpx.AsyncClient) -> None:
    body = await ask(client, "in the beginning")
    assert body["predictions"][0]["word"] == "of"
    assert body["model"] == {"name": "next-word", "version": 1}
    assert body["request_id"]


async def test_starter_knows_how_the_book_begins(client: httpx.AsyncClient) -> None:
    body = await ask(client, "in the beginning god created the")
    assert "heaven" in [found["word"] for found in body["predictions"]]


async def test_capitals_are_no_obstacle_and_come_back(client: httpx.AsyncClient) -> None:
    lower, upper = await ask(client, "and the lord said unto mo"), await ask(client, "AND THE LORD SAID UNTO MO")
    assert lower["predictions"][0]["word"] == "Moses"
    assert upper["predictions"][0] == lower["predictions"][0] | {"word": "MOSES"}
    assert lower["predictions"][0]["kind"] == "completion"
    assert lower["predictions"][0]["replace_from"] == len("and the lord said unto ")


@pytest.mark.parametrize("half", ["s", "h", "th", "st", "wo", "fa", "mo", "ne", "vi"])
async def test_the_start_of_a_word_is_not_taken_for_a_word_by_the_starter(client: httpx.AsyncClient, half: str) -> None:
    body = await ask(client, f"thank you for your {half}")
    assert {found["kind"] for found in body["predictions"]} == {"completion"}
    assert all(found["word"].lower().startswith(half) for found in body["predictions"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   \n\t",
        "안녕하세요 세계",
        "👨‍👩‍👧‍👦 🎉",
        "\x00\x07\u202e\u2066",
        "x" * 3000,
        "\ufeff",
        "שלום עולם",
        "e\u0301\u0301\u0301",
        "word " * 200_000,
        bytes(range(256)).decode("latin-1"),
    ],
    ids=["empty", "blank", "korean", "emoji", "controls", "long-word", "bom", "rtl", "marks", "1MB", "binary"],
)
async def test_any_text_is_answered(client: httpx.AsyncClient, text: str) -> None:
    body = await ask(client, text, words=2)
    assert len(body["predictions"]) == 5
    assert "<unk>" not in [found["word"] for found in body["predictions"]]
    assert len(body["continuation"].split()) == 2


async def test_unknown_words_are_named(client: httpx.AsyncClient) -> None:
    assert (await ask(client, "and bluetooth saith "))["unknown_words"] == ["bluetooth"]


async def test_continuation_begins_with_the_first_prediction(client: httpx.AsyncClient) -> None:
    body = await ask(client, "the children of", words=8)
    assert body["continuation"].split()[0] == body["predictions"][0]["word"]
    assert len(body["continuation"].split()) == 8


async def test_sampling_repeats_with_its_seed(client: httpx.AsyncClient) -> None:
    asked = {"words": 8, "temperature": 1.5}
    first = await ask(client, "and", **asked, seed=7)
    assert (await ask(client, "and", **asked, seed=7))["continuation"] == first["continuation"]
    others = {(await ask(client, "and", **asked, seed=seed))["continuation"] for seed in range(5)}
    assert len(others) > 1


async def test_words_are_written_as_a_person_would(client: httpx.AsyncClient) -> None:
    start, inside = await ask(client, "It was so. "), await ask(client, "It was so, ")
    assert all(found["word"][0].isupper() for found in start["predictions"])
    assert inside["predictions"][0]["word"].islower()
    small = await ask(client, "it was so. ")  # as the caller writes
    assert any(found["word"].islower() for found in small["predictions"])
    assert {found["word"].lower() for found in start["predictions"]} == {
        found["word"].lower() for found in small["predictions"]
    }


async def test_a_cut_to_one_word_is_greedy(client: httpx.AsyncClient) -> None:
    greedy = (await ask(client, "and", words=8))["continuation"]
    for cut in ({"sample_top_k": 1}, {"top_p": 0.0001}):
        assert (await ask(client, "and", words=8, temperature=2.0, seed=1, **cut))["continuation"] == greedy


async def test_beams_look_further_than_one_word(client: httpx.AsyncClient) -> None:
    texts = ("and", "and the king", "in the beginning god", "the children of israel", "then said he unto")
    one = [(await ask(client, text, words=8))["continuation"] for text in texts]
    eight = [(await ask(client, text, words=8, beams=8))["continuation"] for text in texts]
    assert [len(said.split()) for said in eight] == [8] * len(texts)
    assert one != eight


async def test_refused_words_are_not_suggested_again(client: httpx.AsyncClient) -> None:
    first = await ask(client, "in the beginning")
    refused = [found["word"] for found in first["predictions"]]
    second = await ask(client, "in the beginning", reject=refused, words=3)
    assert len(second["predictions"]) == 5
    assert not set(refused) & {found["word"] for found in second["predictions"]}
    assert second["continuation"].split()[0] == second["predictions"][0]["word"]
    assert await ask(client, "in the beginning", reject=["OF"]) == first | {"request_id": mock.ANY}


async def test_blocked_words_are_never_said(client: httpx.AsyncClient) -> None:
    body = await ask(client, "in the beginning", blocklist=["OF"], words=4)
    assert "of" not in [found["word"] for found in body["predictions"]]
    assert "of" not in body["continuation"].split()


async def test_stream_says_word_by_word(client: httpx.AsyncClient) -> None:
    response = await client.post(
        ROUTE, json={"text": "in the begin", "words": 12}, headers={"Accept": "text/event-stream"}
    )
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [block.split("\n") for block in response.text.strip().split("\n\n")]
    assert [event[0] for event in events] == ["event: word"] * 12 + ["event: done"]
    words = [json.loads(event[1].removeprefix("data: "))["word"] for event in events[:-1]]
    done = json.loads(events[-1][1].removeprefix("data: "))
    assert done["continuation"] == " ".join(words)
    assert words[0] == done["predictions"][0]["word"]


async def test_stream_and_answer_agree(client: httpx.AsyncClient) -> None:
    for text in ("and it came to pass", "In the begin", "", "God said, ("):
        for punctuation in (False, True):
            asked = {"text": text, "words": 8, "punctuation": punctuation}
            whole = await ask(client, **asked)
            stream = await client.post(ROUTE, json=asked, headers={"Accept": "text/event-stream"})
            *added, done = [json.loads(event.split("data: ")[1]) for event in stream.text.strip().split("\n\n")]
            assert done["continuation"] == whole["continuation"] == "".join(event["text"] for event in added)
            assert len(added) == 8
            assert ("," in done["continuation"]) <= punctuation


async def test_with_punctuation_sentences_are_written(client: httpx.AsyncClient) -> None:
    texts = ("and", "and the king", "in the beginning god", "the children of israel")
    said = [(await ask(client, text, words=8, punctuation=True))["continuation"] for text in texts]
    assert any("," in each for each in said)
    assert not any(" ," in each or " ." in each for each in said)


async def test_a_stream_has_no_beams(client: httpx.AsyncClient) -> None:
    asked = {"text": "and", "words": 8, "beams": 2}
    response = await client.post(ROUTE, json=asked, headers={"Accept": "text/event-stream"})
    assert "Accept JSON" in problem(response, 422, "/beams")["detail"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"text": "a", "top_k": 0}, "/top_k"),
        ({"text": "a", "top_k": 51}, "/top_k"),
        ({"text": "a", "words": 9}, "/words"),
        ({"text": "a", "words": 0}, "/words"),
        ({"text": "a", "temperature": -1}, "/temperature"),
        ({"text": 3}, "/text"),
        ({}, "/text"),
        ({"text": "a", "topk": 3}, "/topk"),
        ({"text": "a", "model": "next-word@x"}, "/model"),
        ({"text": "a", "model": "pictures"}, "/model"),
    ],
)
async def test_bad_values_are_pointed_at(client: httpx.AsyncClient, body: dict, pointer: str) -> None:
    problem(await client.post(ROUTE, json=body), 422, pointer)


async def test_bad_ways_to_go_on_are_pointed_at(client: httpx.AsyncClient) -> None:
    for field, value, temperature in (
        ("sample_top_k", 0, 1),
        ("sample_top_k", 5, 0),
        ("top_p", 0, 1),
        ("top_p", 1.1, 1),
        ("top_p", 0.5, 0),
        ("beams", 0, 0),
        ("beams", 9, 0),
        ("beams", 2, 1),
        ("reject", "the", 0),
        ("punctuation", "maybe", 0),
    ):
        body = {"text": "a", "temperature": temperature, field: value}
        problem(await client.post(ROUTE, json=body), 422, f"/{field}")


async def test_nothing_acceptable(client: httpx.AsyncClient) -> None:
    body = problem(await client.post(ROUTE, json={"text": "a"}, headers={"Accept": "text/html"}), 406)
    assert "text/event-stream" in body["detail"]


async def test_unknown_model_names_those_there_are(client: httpx.AsyncClient) -> None:
    body = problem(await client.post(ROUTE, json={"text": "a", "model": "nope"}), 404)
    assert "next-word" in body["detail"]
    assert "POST /train" in body["detail"]


async def test_unknown_version_names_those_there_are(client: httpx.AsyncClient) -> None:
    body = problem(await client.post(ROUTE, json={"text": "a", "model": "next-word@9"}), 404)
    assert "it has 1" in body["detail"]


async def test_body_that_is_no_json(client: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    problem(await client.post(ROUTE, content=b'{"text": ', headers=headers), 422)
    form = problem(await client.post(ROUTE, data={"text": "a"}), 415)
    assert "Content-Type: application/json" in form["detail"]


async def test_body_above_the_bound(client: httpx.AsyncClient) -> None:
    problem(await client.post(ROUTE, json={"text": "a" * 2_100_000}), 413)

    async def chunks():
        for _ in range(30):
            yield b" " * 100_000

    headers = {"Content-Type": "application/json"}
    problem(await client.post(ROUTE, content=chunks(), headers=headers), 413)


async def test_request_id_is_echoed_or_made(client: httpx.AsyncClient) -> None:
    response = await client.post(ROUTE, json={"text": "a"}, headers={"X-Request-Id": "my-id-1"})
    assert response.headers["x-request-id"] == "my-id-1"
    assert response.json()["request_id"] == "my-id-1"
    odd = await client.post(ROUTE, json={"text": "a"}, headers={"X-Request-Id": "a b"})
    assert odd.headers["x-request-id"] != "a b"
    assert "model;dur=" in response.headers["server-timing"]
    assert "queue;dur=" in response.headers["server-timing"]


async def test_lecture_model_answers_as_the_lecture(client: httpx.AsyncClient, app: FastAPI, lecture_version) -> None:
    app.state.registry.register(lecture_version, "lecture")
    contexts = ("i like", "i love", "i hate", "you like", "you love", "you hate")
    found = [(await ask(client, text, model="lecture"))["predictions"][0]["word"] for text in contexts]
    assert found == ["dog", "coffee", "milk", "cat", "milk", "coffee"]
    everything = await ask(client, "i like", model="lecture", top_k=50)
    assert len(everything["predictions"]) == 9
    assert sum(p["probability"] for p in everything["predictions"]) == pytest.approx(1, abs=1e-5)


# -- parts, context and reasons --------------------------------------------------------------------------------------


async def test_why_a_word_and_which_lines_it_comes_from(client: httpx.AsyncClient) -> None:
    body = {"text": "in the beginning ", "explain": True, "top_k": 3}
    answer = (await client.post(ROUTE, json=body)).json()
    for found in answer["predictions"]:
        assert sum(found["why"]["parts"].values()) == pytest.approx(1)
    plain = (await client.post(ROUTE, json={"text": "in the beginning "})).json()
    assert all("why" not in found for found in plain["predictions"])


async def test_a_part_that_a_model_does_not_have_is_refused(
    client: httpx.AsyncClient, app: FastAPI, lecture_version: Path
) -> None:
    app.state.registry.register(lecture_version, "mine", "never")
    body = {"text": "i like ", "model": "mine", "parts": ["ngram", "cache"]}
    refused = await client.post(ROUTE, json=body)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["pointer"] == "/parts"
    assert "LSTM alone" in refused.json()["detail"]


@pytest.mark.parametrize("parts", [[], ["markov"]])
async def test_parts_are_named(client: httpx.AsyncClient, parts: list[str]) -> None:
    refused = await client.post(ROUTE, json={"text": "in", "parts": parts})
    assert refused.status_code == 422


async def test_with_int8_the_starter_says_much_the_same_and_the_lecture_exactly(
    client: httpx.AsyncClient,
    app: FastAPI,
    settings: Settings,
    lecture_version: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app.state.registry.register(lecture_version, "lecture", "always")
    texts = ("in the beginning", "and the lord said unto mo", "thou shalt not ")
    exact, lecture = [await ask(client, text) for text in texts], await ask(client, "i like ", model="lecture")
    caplog.set_level("INFO")
    made = create_app(settings.model_copy(update={"int8": True}))
    async with (
        made.router.lifespan_context(made),
        httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://inkling") as other,
    ):
        for text, said in zip(texts, exact, strict=True):
            coded = await ask(other, text)
            assert coded["predictions"] != said["predictions"]  # it is another arithmetic
            (first, *_), (its, *_) = coded["predictions"], said["predictions"]
            assert first["word"] == its["word"]
            assert first["probability"] == pytest.approx(its["probability"], rel=0.05)
        assert (await ask(other, "i like ", model="lecture"))["predictions"] == lecture["predictions"]
    assert "next-word@1 answers with int8" in caplog.text
    assert "lecture@1 answers with float32: its card has no figures of int8" in caplog.text
