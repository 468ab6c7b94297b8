import { bytes, duration } from "../format/format";
import { info, jobs, machine } from "../state/app";
import { linePoints } from "../state/machine";
import { activeJobs } from "../state/jobs";
import { useStore } from "../state/store";

const kWidth = 220;
const kHeight = 44;

function Line({ label, value, values }: { label: string; value: string; values: readonly (number | null)[] }) {
  return (
    <div class="meter">
      <p>
        <span class="label">{label}</span>
        <span class="meter-value">{value}</span>
      </p>
      <svg class="spark" viewBox={`0 0 ${kWidth} ${kHeight}`} preserveAspectRatio="none" aria-hidden="true" focusable="false">
        <polyline points={linePoints(values, kWidth, kHeight)} />
      </svg>
    </div>
  );
}

export const speedWords = (speed: number | null): string => (speed === null ? "at rest" : speed >= 1 ? `${speed.toFixed(1)} steps/s` : `${(1 / speed).toFixed(1)} s a step`);

// Speed and memory, as they are now and were for the last two minutes.
export function MachinePanel() {
  const now = useStore(machine, (m) => m);
  const known = useStore(info, (i) => i);
  const active = useStore(jobs, (j) => activeJobs(j).length);
  const last = now.readings.at(-1);
  return (
    <section class="machine" id="machine" aria-label="Machine">
      <Line label="Speed" value={speedWords(last?.stepsPerSecond ?? null)} values={now.readings.map((r) => r.stepsPerSecond ?? 0)} />
      <Line label="Memory" value={last?.resident == null ? "unknown" : bytes(last.resident)} values={now.readings.map((r) => r.resident)} />
      {last?.device != null && <Line label="Card’s memory" value={bytes(last.device)} values={now.readings.map((r) => r.device)} />}
      <dl class="facts">
        <div>
          <dt>In work</dt>
          <dd>{active}</dd>
        </div>
        {now.secondsPerPicture !== null && (
          <div>
            <dt>A picture takes</dt>
            <dd>{duration(now.secondsPerPicture)}</dd>
          </div>
        )}
        {now.pictures !== null && (
          <div>
            <dt>Drawn since start</dt>
            <dd>{now.pictures}</dd>
          </div>
        )}
        {known && (
          <>
            <div>
              <dt>Device</dt>
              <dd>{known.device}</dd>
            </div>
            <div>
              <dt>Precision</dt>
              <dd>{known.precision}</dd>
            </div>
            <div>
              <dt>Intaglio</dt>
              <dd>{known.version}</dd>
            </div>
          </>
        )}
      </dl>
    </section>
  );
}
