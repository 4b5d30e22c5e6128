package broker

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"holdfast/internal/api"
	"holdfast/internal/input"
)

// What an image is made of decides nothing here. It is kept so that the
// machines can be found that run a package.

// loadContents keeps what an image is made of, as its build signed it.
func (b *Broker) loadContents(w http.ResponseWriter, r *http.Request, actor string) error {
	var m api.ContentsMessage
	if err := readJSON(w, r, kindReference, &m); err != nil {
		return err
	}
	if b.cfg.ReadContents == nil {
		return refuse(http.StatusBadRequest, kindReference, "no key is configured to check an image's contents with")
	}
	c, err := b.cfg.ReadContents(m.Provenance, m.SBOM)
	if err != nil {
		return refuse(http.StatusBadRequest, kindReference, "contents of an image: %w", err)
	}
	if _, err := parseDigest(c.UKI); err != nil {
		return refuse(http.StatusBadRequest, kindReference, "contents of an image: %w", err)
	}
	content, err := json.Marshal(c)
	if err != nil {
		return err
	}
	entry := api.AuditEntry{Action: "load-contents", Actor: actor, Peer: r.RemoteAddr, Subject: c.Name + " " + c.UKI + " " + c.SBOM}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.ContentsKind, Name: c.UKI, Actor: actor, Comment: comment(r), Content: content})
	})
}

func (b *Broker) listContents(w http.ResponseWriter, r *http.Request, _ string) error {
	documents, _, err := b.state.Documents(r.Context(), api.ContentsKind)
	if err != nil {
		return err
	}
	list := []api.ImageContents{}
	for _, d := range documents {
		var c api.ImageContents
		err := input.JSON(d.Content, &c)
		if err == nil && c.UKI != d.Name {
			err = errors.New("they are of another image")
		}
		if err != nil { // then it is unknown what the image is made of
			b.log.Warn("broker: contents of an image are ignored", "uki", d.Name, "error", err)
			continue
		}
		list = append(list, c)
	}
	writeJSON(w, http.StatusOK, list)
	return nil
}

// image is the kernel image that the claims show.
func (a *appraisal) image() string {
	for _, shown := range a.rules.shown(a.claims) {
		return a.rules.images[shown].UKI
	}
	return ""
}
