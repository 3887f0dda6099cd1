/** What stands before an @ in an address: user and password, perhaps. To the last @, for a password may hold one itself. */
const CREDENTIALS = /(?<=\/\/|openai-compatible:(?!https?:\/\/)).+@/s;

/** A spec or an address, fit to be shown: user and password are left out. */
export function withoutCredentials(typed: string): string {
  return typed.replace(CREDENTIALS, '…@');
}

/** A message that quotes the command line, whole or in part, fit to be shown. */
export function hideCredentials(message: string, argv: readonly string[]): string {
  const secrets = argv.flatMap((word) => CREDENTIALS.exec(word)?.[0] ?? []);
  return secrets.reduce((shown, secret) => shown.replaceAll(secret, '…@'), message);
}
