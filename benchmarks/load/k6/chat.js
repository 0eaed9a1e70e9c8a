// What all scripts share: one request as a client of the OpenAI API, and the thresholds.
// k6 holds a streamed answer until its end, so TTFT is not measured here: that is `headrace bench load`.
import http from "k6/http";
import { check } from "k6";
import { Counter, Rate, Trend } from "k6/metrics";

export const url = (__ENV.URL || "http://127.0.0.1:8000").replace(/\/$/, "");
const model = __ENV.MODEL || "sim";
const tokens = Number(__ENV.OUTPUT_TOKENS || 32);
const words = "water river stone light house field north south summer winter paper table".split(" ");

export const shed = new Counter("shed"); // 429 and 503: refused on purpose, with a time to come back
export const broken = new Rate("broken"); // anything else that is no answer
export const latency = new Trend("answered", true);

// SCALE shortens everything for a trial: SCALE=0.01 makes a second of 100.
const scale = Number(__ENV.SCALE || 1);
export const seconds = (n) => `${Math.max(1, Math.round(n * scale))}s`;

export const thresholds = {
  broken: [`rate<${__ENV.MAX_BROKEN || 0.01}`],
  answered: [`p(95)<${__ENV.P95_MS || 30000}`],
};

export function ask(key, length) {
  const prompt = Array.from({ length }, () => words[Math.floor(Math.random() * words.length)]).join(" ");
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const body = JSON.stringify({ model, max_tokens: tokens, messages: [{ role: "user", content: prompt }] });
  const answer = http.post(`${url}/v1/chat/completions`, body, { headers, timeout: "600s", tags: { name: "chat" } });
  const refused = answer.status === 429 || answer.status === 503;
  if (refused) {
    shed.add(1);
    check(answer, { "a refusal says when to come back": (r) => Number(r.headers["Retry-After"]) >= 0 });
    return;
  }
  const whole = check(answer, {
    "status is 200": (r) => r.status === 200,
    "it has text": (r) => r.status === 200 && typeof r.json("choices.0.message.content") === "string",
  });
  broken.add(!whole);
  if (whole) latency.add(answer.timings.duration);
}
