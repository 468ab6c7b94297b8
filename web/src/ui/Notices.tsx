import { dismiss, notices, spoken } from "../state/app";
import { useStore } from "../state/store";
import { Icon } from "./Icon";

// What happened, seen and heard: errors as alerts, the rest by the one live region, which is there from the start.
export function Notices() {
  const shown = useStore(notices, (n) => n);
  const text = useStore(spoken, (s) => s);
  return (
    <>
      <div class="unseen" role="status" aria-live="polite">
        {text}
      </div>
      <div class="notices" role="region" aria-label="Messages">
        {shown.map((notice) => (
          <div key={notice.key} class={`notice ${notice.kind}`} role={notice.kind === "error" ? "alert" : undefined}>
            <p>{notice.text}</p>
            <button type="button" class="tool small" aria-label="Dismiss" onClick={() => dismiss(notice.key)}>
              <Icon name="close" />
            </button>
          </div>
        ))}
      </div>
    </>
  );
}
