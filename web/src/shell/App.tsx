import { useEffect } from "preact/hooks";
import { Archive } from "../archive/Archive";
import { Composer } from "../composer/Composer";
import { PictureDialog } from "../gallery/PictureDialog";
import { Recent } from "../gallery/Recent";
import { Tray } from "../gallery/Tray";
import { QueueList } from "../stage/QueueList";
import { Stage } from "../stage/Stage";
import { route } from "../state/route";
import { useStore } from "../state/store";
import { Notices } from "../ui/Notices";
import { Header, LinkBar } from "./Header";
import { Help } from "./Help";
import { TokenDialog } from "./TokenDialog";

export function App() {
  const now = useStore(route, (r) => r);
  const view = now.view === "picture" ? now.from : now.view;
  useEffect(() => {
    document.title = view === "archive" ? "Archive · Intaglio" : "Intaglio";
    scrollTo(0, 0);
  }, [view]);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault(); // fragments are views here
          document.getElementById("main")?.focus();
        }}
      >
        To the content
      </a>
      <Header />
      <LinkBar />
      <main id="main" tabIndex={-1} class={view}>
        {view === "studio" ? (
          <>
            <h1 class="unseen">Studio</h1>
            <Composer />
            <div class="wall">
              <Stage />
              <QueueList />
              <Recent />
            </div>
          </>
        ) : (
          <Archive />
        )}
      </main>
      <Tray />
      {now.view === "picture" && <PictureDialog {...now} />}
      <Help />
      <TokenDialog />
      <Notices />
    </>
  );
}
