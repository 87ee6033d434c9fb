// What shop-overrides/ may hold. The base wrangler.jsonc uploads .svg files as text modules.
declare module "*.svg" {
  const markup: string;
  export default markup;
}
