// The stack that opened a descriptor: function, file and line, module and offset; a script's lines before its interpreter's.
import type { Frame } from '../model';
import { frameModule, frameText, mainFrame, scriptFirst } from '../sites';

export function Stack({ stack }: { stack: readonly Frame[] }) {
  if (stack.length === 0) return <p class="quiet small">No stack was recorded.</p>;
  const main = mainFrame(stack);
  return (
    <ol class="frames">
      {scriptFirst(stack).map((frame, depth) => {
        const { what, where } = frameText(frame);
        const module = frameModule(frame);
        return (
          <li key={depth} title={[frame.file, frame.module].filter(Boolean).join(' in ')} class={frame === main ? 'first' : ''}>
            <code>{what}</code> <span class="frame-where">{where}</span>
            {module && !where.startsWith(module.split('+')[0]!) && <span class="quiet small"> {module}</span>}
            {frame.inlined && <span class="quiet small"> inlined</span>}
          </li>
        );
      })}
    </ol>
  );
}
