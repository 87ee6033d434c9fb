package git

import (
	"context"
	"fmt"
	"strings"
)

// AddRemote names a remote of this clone. Nothing is fetched.
func (r *Repository) AddRemote(ctx context.Context, remote, url string) error {
	for key, value := range map[string]string{"url": url, "fetch": "+refs/heads/*:refs/remotes/" + remote + "/*"} {
		if _, err := r.run(ctx, nil, "config", "--local", "remote."+remote+"."+key, value); err != nil {
			return fmt.Errorf("adding a remote: %w", err)
		}
	}
	return nil
}

// RemoteURL is where a remote of this clone is, as its configuration says; "" when there is no such remote. It is text
// that other people wrote.
func (r *Repository) RemoteURL(ctx context.Context, remote string) (string, error) {
	out, err := r.run(ctx, nil, "config", "--local", "--no-includes", "--get", "remote."+remote+".url")
	if exitCode(err) == 1 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("reading the remotes: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
