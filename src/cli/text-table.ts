/** One column of a {@link textTable}. */
export interface TextColumn {
  /** Its head. */
  readonly title: string;
  /** Words stand left, numbers right. */
  readonly align: 'left' | 'right';
}

/**
 * A table of plain text.
 *
 * @param columns - from left to right.
 * @param rows - as many cells each as there are columns.
 * @param styleHead - applied to the head's line.
 * @returns lines, each ended by a line break, no blanks at their ends.
 */
export function textTable(
  columns: readonly TextColumn[],
  rows: readonly (readonly string[])[],
  styleHead: (text: string) => string = (text) => text,
): string {
  const heads = columns.map(({ title }) => title);
  const widths = columns.map((_, c) => Math.max(...[heads, ...rows].map((row) => (row[c] as string).length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, c) => {
        const width = widths[c] as number;
        return columns[c]?.align === 'left' ? cell.padEnd(width) : cell.padStart(width);
      })
      .join('  ')
      .trimEnd();
  return [styleHead(line(heads)), ...rows.map(line)].map((text) => `${text}\n`).join('');
}
