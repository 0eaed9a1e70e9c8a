// Reads every query for Loki and Tempo in dashboards with Grafana's own grammars of LogQL and
// TraceQL, as `make queries-check` does. Queries for Prometheus are run by the tests.
//
//     node check.mjs DASHBOARD.json...

import fs from "node:fs";
import { parser as logql } from "@grafana/lezer-logql";
import { parser as traceql } from "@grafana/lezer-traceql";

const LANGUAGES = { loki: [logql, "expr"], tempo: [traceql, "query"] };
// What Grafana puts in before it asks: numbers, spans of time, and names.
const VARIABLES = [
  [/\$\{?slow_ms\}?/g, "2000"],
  [/\$__(auto|interval|rate_interval|range)/g, "5m"],
  [/\$\{?\w+\}?/g, "x"],
];

function filled(query) {
  return VARIABLES.reduce((text, [name, value]) => text.replace(name, value), query);
}

// The places at which a query is not of its language.
function errors(parser, query) {
  const found = [];
  parser.parse(query).iterate({
    enter(node) {
      if (node.type.isError) found.push(node.from);
    },
  });
  return found;
}

// Every query below a part of a dashboard; a target has the source of its panel if none of its own.
function* queries(part, source) {
  if (part === null || typeof part !== "object") return;
  const own = part.datasource?.type ?? source;
  const [parser, field] = LANGUAGES[own] ?? [];
  if (parser && typeof part[field] === "string" && part[field]) yield [parser, part[field]];
  for (const below of Object.values(part)) yield* queries(below, own);
}

let checked = 0;
let wrong = 0;
for (const file of process.argv.slice(2)) {
  for (const [parser, query] of queries(JSON.parse(fs.readFileSync(file, "utf8")), "")) {
    checked += 1;
    const text = filled(query);
    for (const at of errors(parser, text)) {
      wrong += 1;
      console.error(`${file}: wrong at ${at} of ${text}`);
    }
  }
}
if (checked === 0) console.error("No query for Loki or Tempo was found; name dashboards.");
else console.log(`${checked} queries for Loki and Tempo, ${wrong} faults`);
process.exit(checked === 0 || wrong > 0 ? 1 : 0);
