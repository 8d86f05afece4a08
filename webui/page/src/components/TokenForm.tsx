// Asks for the token that the server wants.
import { useState } from 'preact/hooks';

export function TokenForm({ refused, onToken }: { refused: boolean; onToken: (token: string) => void }) {
  const [token, setToken] = useState('');
  const submit = (event: Event) => {
    event.preventDefault();
    if (token.trim()) onToken(token.trim());
  };
  return (
    <form class="card token" onSubmit={submit} data-testid="token-form">
      <h2>This server wants a token</h2>
      <p class="quiet">It is the one the server was started with. It stays in this tab and is never put into the address.</p>
      {refused && (
        <p class="error-text" role="alert">
          The token was not accepted.
        </p>
      )}
      <label>
        Token
        <input
          type="password"
          autocomplete="off"
          value={token}
          onInput={(event) => setToken((event.currentTarget as HTMLInputElement).value)}
        />
      </label>
      <button type="submit">Connect</button>
    </form>
  );
}
