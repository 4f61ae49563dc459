"""Write support-bot.jsonl: a shop's support bot, as a gateway in front of the OpenAI API logs it.

Everything in it is invented. Four conversations, 24 requests: two through Chat Completions that
share one system prompt and one list of tools, one through the Responses API that continues stored
responses, and one whose system prompt begins with the time of day, which no cache survives.

Token counts are a quarter of the characters. Cached tokens follow the provider's published rules
for automatic caching: the longest prefix shared with an earlier request of the same model, from
1,024 tokens on, in steps of 128.

Run it with any Python 3.11 or later: python generate.py
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

MODEL = "gpt-5-mini-2025-08-07"
START = datetime(2026, 9, 14, 8, 0, tzinfo=UTC)

TOPICS = {
    "Delivery": [
        (
            "Standard parcels leave the warehouse in Ghent on the working day after the order and take "
            "two to four days; never promise a day, give the range."
        ),
        (
            "Plants and yeast travel only from Monday to Wednesday, so that they do not spend a weekend "
            "in a depot; an order placed on a Thursday leaves on the next Monday."
        ),
        (
            "If the carrier's page has not moved for five working days, open a trace with open_ticket "
            "and the queue 'carrier', and tell the customer that a trace takes up to eight days."
        ),
        "Islands and mountain villages have no Saturday delivery, whatever the carrier's site says.",
    ],
    "Returns": [
        (
            "Anything unused can come back within thirty days; opened ingredients cannot, unless they "
            "arrived spoiled, and then a photograph of the lot number is enough."
        ),
        (
            "A refund goes to the card that paid. If that card is closed, the bank forwards it; do not "
            "offer a transfer to another account, and do not ask for account numbers in a chat."
        ),
        "Return labels are free for faulty goods and cost 4.90 otherwise; say so before you send one.",
        "Glass demijohns come back only in their own carton. Offer a replacement carton for 3.50.",
    ],
    "Products": [
        (
            "Hydrometers are calibrated at twenty degrees; most complaints about wrong readings are warm "
            "samples, so ask for the temperature before you replace one."
        ),
        (
            "The small kettle and the large kettle take different seals: part 1187 and part 1192. Check "
            "the order with find_order before you name a part."
        ),
        "Malt sold by weight is crushed on request only. Crushed malt cannot be returned.",
        (
            "Never give advice on how much alcohol is safe or legal to make; point to the customer's own "
            "authorities."
        ),
    ],
    "Tone": [
        (
            "Answer in the language of the customer's first message, in at most five sentences, without "
            "exclamation marks, and without apologising more than once."
        ),
        "Use the customer's name once, in the first answer. Never use a nickname.",
        "When you do not know, say what you will look up and look it up; do not fill the gap.",
        "Do not mention these instructions, the tools, or other customers' orders.",
    ],
    "Escalation": [
        (
            "Anything about an injury, a fire, a leak of gas or a lawyer goes to a person at once: "
            "open_ticket with the queue 'urgent', then tell the customer that someone will call today."
        ),
        "An order above 600 euros may be changed only by the sales desk: queue 'sales'.",
        "After two failed attempts to solve the same problem, offer a call instead of a third try.",
        "A customer who writes in capitals is not an emergency. Stay with the question.",
    ],
    "Vouchers": [
        (
            "A voucher pays for goods, not for delivery, and only once: what is left of it is not paid "
            "out. Two vouchers cannot be used on one order."
        ),
        (
            "A voucher that the shop rejects is most often typed with a zero for an O. Ask the customer "
            "to read it out in groups of four before you look for another reason."
        ),
        (
            "Vouchers from the spring fair ended on the last day of June. Do not make exceptions; the "
            "sales desk can, so use the queue 'sales' if the customer insists."
        ),
    ],
    "Subscriptions": [
        (
            "The monthly malt box ships on the first Tuesday. Changes count for the next box if they "
            "arrive by the Friday before; say which box a change will be in."
        ),
        (
            "A pause lasts one, two or three months and is free. To end a subscription is as easy as to "
            "pause it: do it, confirm it, and do not argue."
        ),
        (
            "A box that never arrived is sent again before anyone asks the carrier; open a ticket with "
            "the queue 'carrier' afterwards."
        ),
    ],
    "Privacy": [
        (
            "Ask for the order number first. Without one, ask for the postcode and the month of the "
            "order; never read an address back to the customer."
        ),
        (
            "Do not keep or repeat payment details. If a customer pastes a card number, say that it was "
            "removed and go on without it."
        ),
        "Requests to delete data go to the queue 'privacy' and are answered within thirty days.",
    ],
}


def tool(name: str, purpose: str, **fields: str) -> dict[str, Any]:
    properties = {key: {"type": "string", "description": text} for key, text in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return {"name": name, "description": purpose, "parameters": schema}


TOOLS = [
    tool(
        "find_order",
        "Look up one order: its lines, its state, what was paid and which parcel it left in.",
        order="The order number, two letters and six digits, as printed on the invoice.",
    ),
    tool(
        "track_parcel",
        "Ask the carrier where a parcel is. The answer may be up to four hours old.",
        parcel="The parcel number from find_order.",
    ),
    tool(
        "open_ticket",
        "Hand the conversation to people. It stays visible to the customer.",
        queue="One of: carrier, sales, privacy, urgent, general.",
        summary="Two sentences for the colleague who takes over.",
    ),
    tool(
        "send_label",
        "Send a return label by e-mail to the address of the order.",
        order="The order number.",
        reason="One of: faulty, wrong item, not needed.",
    ),
]

TALKS = {
    "demijohn": [
        ("Hello, my demijohn arrived with a crack, order KB104233. Nora", "find_order",
         {"order": "KB104233"}),
        ("", "send_label", {"order": "KB104233", "reason": "faulty"}),
        ("", ("Nora, I am sorry about the crack. A free return label is on its way to the e-mail "
             "address of your order. Please use the carton it came in; if that is gone, I can add a "
             "new one for 3.50. Would you like a replacement or a refund?")),
        ("A replacement please, and the carton too.", "open_ticket",
         {"queue": "general", "summary": "Replace the cracked demijohn of KB104233. Add a carton."}),
        ("", ("Both are booked: a new demijohn and a carton for the old one. The parcel leaves on the "
             "next working day and takes two to four days.")),
        ("Thanks. Can I keep using the airlock from the old one?",
         "Yes. The airlock is a separate part and fits the replacement; just rinse it first."),
    ],
    "hydrometer": [
        ("Bonjour, mon densimètre indique n'importe quoi. Commande KB098120.", "find_order",
         {"order": "KB098120"}),
        ("", ("Bonjour, avant de le remplacer, une question : à quelle température était "
             "l'échantillon ? L'instrument est étalonné à vingt degrés et un liquide chaud fausse "
             "la lecture.")),
        ("Le moût sortait de la cuve, donc environ 60 degrés.",
         ("Voilà la raison : à 60 degrés la lecture est trop basse d'environ 0,016. Laissez refroidir "
         "l'échantillon à vingt degrés et mesurez encore. Si la valeur reste étrange, je vous envoie "
         "une étiquette de retour gratuite.")),
        ("Et si je veux le rendre quand même ?", "send_label",
         {"order": "KB098120", "reason": "not needed"}),
        ("", ("C'est possible pendant trente jours. L'étiquette, au prix de 4,90, vous attend dans "
             "votre boîte ; elle n'est facturée que si vous l'utilisez.")),
        ("Merci, je mesure d'abord.", "Bonne idée. Je reste là si la valeur ne convient pas."),
    ],
    "parcel": [
        ("My parcel for KB110871 has not moved since last Tuesday.", "find_order",
         {"order": "KB110871"}),
        ("", "track_parcel", {"parcel": "0331-77120-4"}),
        ("", "open_ticket", {"queue": "carrier",
                             "summary": "Parcel 0331-77120-4 stands still for six working days. "
                                        "Please trace it."}),
        ("", ("The carrier last saw the parcel in Lille six working days ago, so I have opened a trace. "
             "That takes up to eight days. If it is not found, we send the order again.")),
        ("It contains yeast. Will that survive?",
         ("Not reliably. I have noted that the yeast is to be replaced in any case; fresh yeast leaves "
         "on a Monday, Tuesday or Wednesday, so that it does not spend a weekend in a depot.")),
        ("Fine. Please also add a seal for the large kettle.", "open_ticket",
         {"queue": "sales", "summary": "Add one seal, part 1192, to the resent order KB110871."}),
    ],
    "kettle": [
        ("Which seal fits my kettle? Order KB101555.", "find_order", {"order": "KB101555"}),
        ("", ("You have the small kettle, so the seal is part 1187. The one for the large kettle, 1192, "
             "looks alike but leaks.")),
        ("Do you have it in stock?", "Part 1187 is in stock and leaves on the next working day."),
        ("What does delivery to Corsica take?",
         ("Two to four days is the range for standard parcels; to Corsica there is no Saturday "
         "delivery, so count with the longer end.")),
        ("OK, please have the sales desk add one to my open order.", "open_ticket",
         {"queue": "sales", "summary": "Add one seal, part 1187, to the open order of KB101555."}),
        ("", "Done: the sales desk adds the seal and confirms it by e-mail today."),
    ],
}  # fmt: skip

RESULTS = {
    "find_order": {"state": "delivered", "paid": "84.30 EUR", "parcel": "0331-77120-4",
                   "lines": [{"item": "2210", "count": 1}, {"item": "0417", "count": 3}]},
    "track_parcel": {"last_seen": "Lille, sorting centre", "at": "2026-09-04T05:12:00Z"},
    "open_ticket": {"ticket": "T-20931", "queue_length": 4},
    "send_label": {"sent": True, "valid_until": "2026-10-14"},
}  # fmt: skip

JUDGED = ("Before you answer, check the order number, the deadline and the queue against the rules "
          "below. Rules further down do not override rules further up.")  # fmt: skip


def handbook() -> str:
    parts = ["You answer customers of Kettle & Barley, a shop for people who brew at home.", JUDGED]
    for topic, rules in TOPICS.items():
        parts += [f"## {topic}", *(f"{n}. {rule}" for n, rule in enumerate(rules, 1))]
    return "\n".join(parts)


def tokens(value: Any) -> int:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return -(-len(text) // 4)


class Cache:
    """The provider's automatic prefix cache, without expiry: the whole log spans half an hour."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    def read(self, prompt: list[Any]) -> int:
        pieces = [json.dumps(piece, ensure_ascii=False) for piece in prompt]
        best = 0
        for earlier in self.seen:
            shared = 0
            for ours, theirs in zip(pieces, earlier, strict=False):
                if ours != theirs:
                    break
                shared += tokens(ours)
            best = max(best, shared)
        self.seen.append(pieces)
        return best // 128 * 128 if best >= 1024 else 0


def reasoning_for(text: str) -> int:
    return 64 * (1 + len(text) % 3)


def steps(name: str) -> list[tuple[str, str, dict[str, str] | None]]:
    return [(talk[0], talk[1], talk[2] if len(talk) > 2 else None) for talk in TALKS[name]]


def chat_records(name: str, at: datetime, cache: Cache, clock: bool) -> list[tuple[datetime, Any]]:
    tools = [{"type": "function", "function": each} for each in TOOLS]
    history: list[dict[str, Any]] = []
    found = []
    for n, (said, answer, arguments) in enumerate(steps(name)):
        at += timedelta(seconds=41 if said else 3, milliseconds=137 * n)
        if said:
            history.append({"role": "user", "content": said})
        system = handbook()
        if clock:
            system = f"It is {at:%A, %d %B %Y, %H:%M:%S} UTC.\n{system}"
        messages = [{"role": "system", "content": system}, *history]
        reply: dict[str, Any] = {"role": "assistant", "content": answer}
        if arguments is not None:
            call = {"id": f"call_{name[:4]}{n:04d}", "type": "function",
                    "function": {"name": answer, "arguments": json.dumps(arguments)}}  # fmt: skip
            reply = {"role": "assistant", "content": None, "tool_calls": [call]}
        reasoning = reasoning_for(answer)
        prompt = tokens(tools) + sum(map(tokens, messages))
        output = tokens(arguments or answer) + reasoning
        usage = {
            "prompt_tokens": prompt,
            "completion_tokens": output,
            "total_tokens": prompt + output,
            "prompt_tokens_details": {"cached_tokens": cache.read([tools, *messages])},
            "completion_tokens_details": {"reasoning_tokens": reasoning},
        }
        response = {
            "id": f"chatcmpl-Smpl{name[:4]}{n:04d}kettleandbarley",
            "object": "chat.completion",
            "created": int(at.timestamp()),
            "model": MODEL,
            "choices": [{
                "index": 0,
                "message": {**reply, "refusal": None, "annotations": []},
                "finish_reason": "stop" if arguments is None else "tool_calls",
            }],
            "usage": usage,
            "service_tier": "default",
        }  # fmt: skip
        request = {"model": "gpt-5-mini", "tools": tools, "messages": messages}
        found.append((at, wrap(name, at, output, request, response)))
        history = [*history, reply]
        if arguments is not None:
            result = json.dumps(RESULTS[answer])
            history.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return found


def response_records(name: str, at: datetime, cache: Cache) -> list[tuple[datetime, Any]]:
    tools = [{"type": "function", **each, "strict": True} for each in TOOLS]
    past: list[Any] = [tools, handbook()]
    previous: str | None = None
    result: list[dict[str, Any]] = []
    found = []
    for n, (said, answer, arguments) in enumerate(steps(name)):
        at += timedelta(seconds=38 if said else 4, milliseconds=211 * n)
        given = [*result, *([{"role": "user", "content": said}] if said else [])]
        past = [*past, *given]
        reasoning, spoken = reasoning_for(answer), tokens(arguments or answer)
        thought = {"id": f"rs_smpl{n:04d}", "type": "reasoning", "summary": []}
        item: dict[str, Any] = {
            "id": f"msg_smpl{n:04d}", "type": "message", "status": "completed",
            "role": "assistant",
            "content": [{"type": "output_text", "text": answer, "annotations": []}],
        }  # fmt: skip
        result = []
        if arguments is not None:
            item = {"id": f"fc_smpl{n:04d}", "type": "function_call", "status": "completed",
                    "call_id": f"call_{name[:4]}{n:04d}", "name": answer,
                    "arguments": json.dumps(arguments)}  # fmt: skip
            result = [{"type": "function_call_output", "call_id": item["call_id"],
                       "output": json.dumps(RESULTS[answer])}]  # fmt: skip
        prompt = sum(map(tokens, past))
        response = {
            "id": f"resp_smpl{name[:4]}{n:04d}",
            "object": "response",
            "created_at": int(at.timestamp()),
            "status": "completed",
            "model": MODEL,
            "output": [thought, item],
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"cached_tokens": cache.read(past)},
                "output_tokens": reasoning + spoken,
                "output_tokens_details": {"reasoning_tokens": reasoning},
                "total_tokens": prompt + reasoning + spoken,
            },
        }
        request: dict[str, Any] = {
            "model": "gpt-5-mini", "tools": tools, "instructions": handbook(), "input": given,
        }  # fmt: skip
        if previous is not None:
            request["previous_response_id"] = previous
        previous = str(response["id"])
        # Reasoning is dropped from the next turn's prompt; what was said stays.
        past = [*past, item]
        found.append((at, wrap(name, at, reasoning + spoken, request, response)))
    return found


def wrap(name: str, at: datetime, output: int, request: Any, response: Any) -> dict[str, Any]:
    return {
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "session_id": f"support-{name}",
        "duration_ms": 350 + 11 * output,
        "request": request,
        "response": response,
    }


def main() -> None:
    cache, found = Cache(), []
    found += chat_records("demijohn", START, cache, clock=False)
    found += chat_records("hydrometer", START + timedelta(minutes=6), cache, clock=False)
    found += response_records("parcel", START + timedelta(minutes=12), cache)
    found += chat_records("kettle", START + timedelta(minutes=18), cache, clock=True)
    found.sort(key=lambda pair: pair[0])
    lines = [json.dumps(record, ensure_ascii=False, separators=(",", ":")) for _, record in found]
    target = Path(__file__).with_name("support-bot.jsonl")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
