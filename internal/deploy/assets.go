package deploy

import (
	"context"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/kvick/shopfleet/internal/cloudflare"
)

// assetUploads is how many buckets travel at once, as with wrangler (wire.md §5).
const assetUploads = 3

// assets uploads the static files that the account does not have yet and keeps
// the token that stands for the whole set. Files are stored by hash, so doing
// this twice changes nothing.
func (a *applying) assets(ctx context.Context) error {
	return a.step(ctx, ActionAssets, "uploading assets", func(s Step) error {
		set := a.want.Assets
		manifest := make(map[string]cloudflare.Asset, len(set.Assets))
		for _, f := range set.Assets {
			manifest[f.Path] = cloudflare.Asset{Hash: f.Hash, Size: f.Size}
		}
		a.write()
		session, err := a.cf.AssetsSession(ctx, s.Target, manifest)
		if err != nil {
			return fmt.Errorf("opening an upload session for the assets of %s: %w", s.Target, err)
		}
		if len(session.Buckets) == 0 {
			a.assetsToken = session.JWT
			return nil
		}
		tokens := make([]cloudflare.Secret, len(session.Buckets))
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(assetUploads)
		for i, bucket := range session.Buckets {
			group.Go(func() (err error) {
				tokens[i], err = a.uploadBucket(gctx, session.JWT, bucket)
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return fmt.Errorf("uploading the assets of %s: %w", s.Target, err)
		}
		for _, t := range tokens {
			if t != "" {
				a.assetsToken = t
			}
		}
		if a.assetsToken == "" {
			return fmt.Errorf("uploading the assets of %s: Cloudflare took every file and sent no completion token", s.Target)
		}
		return nil
	})
}

func (a *applying) uploadBucket(ctx context.Context, session cloudflare.Secret, bucket []string) (cloudflare.Secret, error) {
	upload, err := a.want.Assets.Bucket(bucket)
	if err != nil {
		return "", err
	}
	r := upload.Open()
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	a.write()
	return a.cf.UploadAssets(ctx, session, upload.ContentType, body)
}
