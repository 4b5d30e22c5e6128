package fetch

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// isBlob says whether a URL is one of Azure Blob Storage. A token goes over TLS
// alone.
func isBlob(u *url.URL) bool {
	return u.Scheme == "https" && strings.HasSuffix(u.Hostname(), ".blob.core.windows.net") && (u.Port() == "" || u.Port() == "443")
}

// blob asks with the machine's identity where it has one; a server that refuses
// that is asked as anybody may ask, as upstream does.
func (f *Fetcher) blob(ctx context.Context, client *http.Client, u *url.URL, q question, sink *sink) error {
	if f.Blob != "" {
		q.url = f.Blob + u.RequestURI()
	}
	token, err := f.azureToken(ctx)
	if err != nil {
		return err
	}
	if token != "" {
		with := q
		with.headers = q.headers.Clone()
		if with.headers == nil {
			with.headers = http.Header{}
		}
		with.headers.Set("Authorization", "Bearer "+token)
		with.headers.Set("X-Ms-Version", "2021-08-06") // Entra ID takes 2017-11-09 and later
		err := f.get(ctx, noRedirects(client), with, sink)
		if status := (*StatusError)(nil); !errors.As(err, &status) && !errors.Is(err, ErrNotFound) {
			return err
		}
		f.Log.Info("the machine's identity may not read a blob: asking without", "because", err)
	}
	return f.get(ctx, client, q, sink)
}

// azureToken is that of the machine's managed identity; empty when it has none,
// which the service tells as 400 (Azure, "How to use managed identities for
// Azure resources on an Azure VM to acquire an access token").
func (f *Fetcher) azureToken(ctx context.Context) (string, error) {
	const path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fstorage.azure.com%2F"
	text, err := f.metadata(ctx, http.MethodGet, f.Azure+path, http.Header{"Metadata": {"true"}})
	if status := (*StatusError)(nil); errors.Is(err, ErrNotFound) || errors.As(err, &status) && status.Code == http.StatusBadRequest {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("access token: %w", err)
	}
	return parseToken(text)
}
