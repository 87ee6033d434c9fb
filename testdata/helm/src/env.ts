/**
 * Everything a shop binds to its Worker. There is nothing else to reach: the database, the bucket and the namespace are
 * this shop's own, and no table, key or path has to say whose they are.
 */
export interface Env {
  readonly DB: D1Database;
  readonly ASSETS_BUCKET: R2Bucket;
  readonly KV: KVNamespace;
  readonly ASSETS: Fetcher;

  readonly SHOP_SLUG: string;
  readonly SHOP_NAME: string;
  /** OpenID Connect issuer, without a trailing slash. */
  readonly OAUTH_ISSUER: string;
  readonly OAUTH_CLIENT_ID: string;

  // Secrets.
  /** Signs cookies and form tokens; 32 characters or more. */
  readonly SESSION_KEY: string;
  readonly OAUTH_CLIENT_SECRET: string;
  readonly STRIPE_SECRET_KEY: string;
  readonly TWILIO_ACCOUNT_SID: string;
}
