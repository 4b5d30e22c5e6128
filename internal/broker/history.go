package broker

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"holdfast/internal/api"
)

// maxComment bounds what an administrator says of a change.
const maxComment = 1 << 10

// comment is what an administrator says of a change: ?comment=…
func comment(r *http.Request) string {
	text := r.URL.Query().Get("comment")
	return text[:min(len(text), maxComment)]
}

func versionedKind(kind string) error {
	if !slices.Contains(api.VersionedKinds(), kind) {
		return refuse(http.StatusNotFound, kindInternal, "kind %.80q has no versions: expected one of %q", kind, api.VersionedKinds())
	}
	return nil
}

func (b *Broker) listHistory(w http.ResponseWriter, r *http.Request, _ string) error {
	kind := r.PathValue("kind")
	if err := versionedKind(kind); err != nil {
		return err
	}
	list, err := b.state.History(r.Context(), kind)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

func (b *Broker) getVersion(w http.ResponseWriter, r *http.Request, _ string) error {
	kind := r.PathValue("kind")
	if err := versionedKind(kind); err != nil {
		return err
	}
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
	if err != nil {
		return refuse(http.StatusBadRequest, kindSerde, "version %.80q: expected a number", r.PathValue("number"))
	}
	v, err := b.state.Version(r.Context(), kind, number)
	if err != nil {
		return absent(err, "version %d of kind %s is not kept", number, kind)
	}
	writeJSON(w, http.StatusOK, v)
	return nil
}

// acceptable refuses a version that could not be set today: a policy that was
// imported, or that an earlier version of this program took.
func acceptable(v api.Version) error {
	if v.Kind != api.PolicyKind || v.Removed() {
		return nil
	}
	return compiles(v.Name, v.Content)
}

func (b *Broker) rollBack(w http.ResponseWriter, r *http.Request, actor string) error {
	var ask api.Rollback
	if err := readJSON(w, r, kindSerde, &ask); err != nil {
		return err
	}
	if err := versionedKind(ask.Kind); err != nil {
		return err
	}
	by := api.Version{Time: b.cfg.Now(), Actor: actor, Comment: ask.Comment[:min(len(ask.Comment), maxComment)]}
	if by.Comment == "" {
		by.Comment = fmt.Sprintf("rolled back to version %d", ask.Version)
	}
	entry := api.AuditEntry{Action: "rollback", Actor: actor, Peer: r.RemoteAddr, Subject: fmt.Sprintf("%s %d %s", ask.Kind, ask.Version, ask.Name)}
	var made []int64
	err := b.change(w, r, entry, func(ctx context.Context) (err error) {
		made, err = b.state.Rollback(ctx, ask.Kind, ask.Name, ask.Version, by, acceptable)
		return absent(err, "version %d of kind %s is not kept", ask.Version, ask.Kind)
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(made)
}
