package git

import "testing"

func TestRemoteURL(t *testing.T) {
	r := newRepo(t)
	if url, err := r.RemoteURL(t.Context(), "origin"); err != nil || url != "" {
		t.Errorf("without a remote: %q, %v", url, err)
	}
	if err := r.AddRemote(t.Context(), "origin", "git@github.com:kvick/helm.git"); err != nil {
		t.Fatal(err)
	}
	if url, err := r.RemoteURL(t.Context(), "origin"); err != nil || url != "git@github.com:kvick/helm.git" {
		t.Errorf("got %q, %v", url, err)
	}
}
