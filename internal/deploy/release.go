package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kvick/shopfleet/internal/cloudflare"
	"github.com/kvick/shopfleet/internal/wrangler"
)

// form is the upload of this release.
func (a *applying) form(put bool) (*wrangler.Form, error) {
	upload := wrangler.Upload{
		Put:       put,
		New:       a.have.Worker == nil,
		Assets:    a.want.Assets,
		AssetsJWT: wrangler.Secret(a.assetsToken),
		Secrets:   a.want.Secrets,
		Keep:      keptSecrets(a.want, a.have),
		Tag:       a.plan.Mark,
		Message:   a.message(),
	}
	if a.have.Worker != nil {
		upload.MigrationTag = a.have.Worker.MigrationTag
	}
	form, err := wrangler.NewForm(a.want.Config, a.want.Bundle, upload)
	if err != nil {
		return nil, asFindings(err)
	}
	return form, nil
}

func (a *applying) message() string {
	reach := a.want.reach()
	if a.plan.Has(ActionPut) {
		reach = notRecorded
	}
	return memo{
		mark: a.plan.Mark, required: listDigest(a.want.RequiredSecrets), reach: reach, stores: rememberStores(a.want, a.have),
		values: a.want.secretsID(a.plan.Has(ActionPut)),
		commit: a.plan.Commit, bookmark: a.out.Bookmark,
	}.String()
}

// upload makes a version that takes no traffic. When the answer is lost, the
// version is looked for by its mark before another one is made.
func (a *applying) upload(ctx context.Context) error {
	return a.step(ctx, ActionUpload, "uploading the version", func(s Step) error {
		form, err := a.form(false)
		if err != nil {
			return err
		}
		began := a.e.now()
		for try := 0; ; try++ {
			a.write()
			v, err := a.cf.CreateVersion(ctx, s.Target, form.ContentType, form.Body)
			if err == nil {
				a.out.Uploaded = v.ID
				return nil
			}
			if !errors.Is(err, cloudflare.ErrUnknownOutcome) || ctx.Err() != nil {
				return a.refused("uploading a version of "+s.Target, err)
			}
			id, lookErr := a.findVersion(ctx, s.Target, began)
			switch {
			case lookErr != nil:
				return fmt.Errorf("uploading a version of %s: %w", s.Target, errors.Join(err, lookErr))
			case id != "":
				a.out.Uploaded = id
				a.out.Adopted++
				return nil
			case try == 2:
				return fmt.Errorf("uploading a version of %s: %w", s.Target, err)
			}
		}
	})
}

// findVersion looks for a version that this deploy uploaded without hearing of it.
func (a *applying) findVersion(ctx context.Context, worker string, since time.Time) (string, error) {
	a.read()
	list, err := a.cf.Versions(ctx, worker)
	if err != nil {
		return "", fmt.Errorf("looking for the version: %w", err)
	}
	for _, v := range list {
		// Clocks differ; a version of this mark from the last minutes is as good as ours, being of equal content.
		if v.Annotations[annotationTag] == a.plan.Mark && v.Annotations[annotationMessage] == a.message() && v.CreatedOn.After(since.Add(-5*time.Minute)) && v.ID != a.plan.Live {
			return v.ID, nil
		}
	}
	return "", nil
}

// release gives the uploaded version all traffic.
func (a *applying) release(ctx context.Context) error {
	return a.step(ctx, ActionRelease, "releasing", func(s Step) error {
		if err := together(func() error { return a.unmoved(ctx) }, func() error { return a.free(ctx) }); err != nil {
			return err
		}
		if err := a.deployVersion(ctx, s.Target, a.out.Uploaded, a.message()); err != nil {
			return err
		}
		a.out.VersionID = a.out.Uploaded
		return nil
	})
}

// unmoved makes sure that what is to be replaced is still live: another run may have released meanwhile, and what it
// released would be undone without anybody wanting that.
func (a *applying) unmoved(ctx context.Context) error {
	if !a.plan.Has(ActionRelease) && !a.plan.Has(ActionPut) {
		return nil
	}
	if a.e.now().Sub(a.looked) <= looksFresh {
		return nil
	}
	looked := a.e.now()
	a.read()
	list, err := a.cf.Deployments(ctx, a.plan.Worker)
	if err != nil {
		return fmt.Errorf("asking once more what is live on %s: %w", a.plan.Worker, err)
	}
	var now Live
	live(list, &now)
	if now.Version != a.plan.Live && !now.sharedAs(a.have.Live) {
		return &StaleError{Shop: a.plan.Shop, Live: now.Version}
	}
	a.looked = looked
	return nil
}

// looksFresh is how long what was seen to be live is taken for live: a fast deploy asks once, and a fleet of fifty keeps to
// eight calls a shop. Runs of one workflow wait for each other anyway.
const looksFresh = 2 * time.Second

// deployVersion releases a version by its id. When the answer is lost, the
// live deployment tells whether it happened.
func (a *applying) deployVersion(ctx context.Context, worker, version, text string) error {
	return a.deployShares(ctx, worker, []cloudflare.Share{{VersionID: version, Percentage: 100}}, text)
}

// deployShares is deployVersion for several; the first one names them all.
func (a *applying) deployShares(ctx context.Context, worker string, shares []cloudflare.Share, text string) error {
	version := shares[0].VersionID
	for try := 0; ; try++ {
		a.write()
		_, err := a.cf.CreateDeployment(ctx, worker, cloudflare.Release{Versions: shares, Message: text, Force: a.force})
		if err == nil {
			return nil
		}
		if !errors.Is(err, cloudflare.ErrUnknownOutcome) || ctx.Err() != nil {
			return a.refused(fmt.Sprintf("releasing version %s of %s", version, worker), err)
		}
		a.read()
		list, lookErr := a.cf.Deployments(ctx, worker)
		switch {
		case lookErr != nil:
			return fmt.Errorf("releasing version %s of %s: %w", version, worker, errors.Join(err, lookErr))
		case len(list) > 0 && sameShares(list[0].Versions, shares):
			a.out.Adopted++
			return nil
		case try == 2:
			return fmt.Errorf("releasing version %s of %s: %w", version, worker, err)
		}
	}
}

// sameShares says that two deployments are of the same versions, in whatever order Cloudflare lists them.
func sameShares(a, b []cloudflare.Share) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s cloudflare.Share) bool { return !slices.Contains(b, s) })
}

// put uploads and releases in one call.
func (a *applying) put(ctx context.Context) error {
	return a.step(ctx, ActionPut, "uploading and releasing", func(s Step) error {
		if err := a.free(ctx); err != nil {
			return err
		}
		form, err := a.form(true)
		if err != nil {
			return err
		}
		for try := 0; ; try++ {
			a.write()
			w, err := a.cf.PutWorker(ctx, s.Target, form.ContentType, form.Body)
			if err == nil && w.DeploymentID != "" {
				a.released(dashed(w.DeploymentID))
				return nil
			}
			if err == nil {
				// Cloudflare need not say what it made (wire.md §3.1); the live deployment does.
				id, err := a.liveOfMark(ctx, s.Target)
				a.released(id)
				return err
			}
			if !errors.Is(err, cloudflare.ErrUnknownOutcome) || ctx.Err() != nil {
				return a.refused("uploading "+s.Target, err)
			}
			id, lookErr := a.liveOfMark(ctx, s.Target)
			switch {
			case lookErr != nil:
				return fmt.Errorf("uploading %s: %w", s.Target, errors.Join(err, lookErr))
			case id != "" && id != a.plan.Live:
				a.released(id)
				a.out.Adopted++
				return nil
			case try == 2:
				return fmt.Errorf("uploading %s: %w", s.Target, err)
			}
		}
	})
}

// released notes the version that an upload released.
func (a *applying) released(id string) { a.out.Uploaded, a.out.VersionID = id, id }

// dashed gives a version id the form in which all other calls know it: a PUT
// answers with the bare 32 digits (wire.md §3.1).
func dashed(id string) string {
	if len(id) != 32 || strings.Contains(id, "-") {
		return id
	}
	return id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:]
}

// liveOfMark is the live version if it carries the plan's mark, else "".
func (a *applying) liveOfMark(ctx context.Context, worker string) (string, error) {
	a.read()
	list, err := a.cf.Deployments(ctx, worker)
	if errors.Is(err, cloudflare.ErrNotFound) || err == nil && len(list) == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("looking for the release: %w", err)
	}
	if len(list[0].Versions) != 1 {
		return "", nil
	}
	a.read()
	v, err := a.cf.Version(ctx, worker, list[0].Versions[0].VersionID)
	if err != nil {
		return "", fmt.Errorf("looking for the release: %w", err)
	}
	if v.Annotations[annotationTag] != a.plan.Mark {
		return "", nil
	}
	return v.ID, nil
}

// refused turns what Cloudflare says about an upload into a finding where it
// is about the user's code or config, and leaves it an error otherwise.
func (a *applying) refused(doing string, err error) error {
	var api *cloudflare.Error
	if errors.As(err, &api) && api.Outcome == cloudflare.Refused {
		f := Finding{Level: LevelError, Message: doing + ": " + api.Message, Hint: api.Hint(), File: a.want.Config.File}
		switch api.Code {
		case 10021: // validation: a start-up error, a syntax that the runtime does not know (wire.md §2)
			f.Rule = "upload-invalid"
			return Findings{f}
		case 10027:
			f.Rule = "upload-too-large"
			return Findings{f}
		case 10057:
			f.Rule = "secret-missing"
			return Findings{f}
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
