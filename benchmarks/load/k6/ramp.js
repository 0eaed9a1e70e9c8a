// From nothing to RATE requests per second in ten minutes, there for five, and back: where does it bend?
import { ask, seconds, thresholds } from "./chat.js";

const rate = Number(__ENV.RATE || 20);
export const options = {
  thresholds,
  scenarios: {
    ramp: {
      executor: "ramping-arrival-rate", startRate: 1, timeUnit: "1s",
      preAllocatedVUs: rate * 4, maxVUs: rate * 60,
      stages: [
        { target: rate, duration: seconds(600) },
        { target: rate, duration: seconds(300) },
        { target: 1, duration: seconds(120) },
      ],
    },
  },
};
export default () => ask(__ENV.KEY, 256);
