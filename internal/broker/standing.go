package broker

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"holdfast/internal/api"
)

// maxRevocation bounds why an image is revoked: machines are told.
const maxRevocation = 1000

// setStanding limits or revokes an image, or takes that back: POST
// /kbs/v0/holdfast/images. The image is one whose reference values are here, or
// one of which something was said before.
func (b *Broker) setStanding(w http.ResponseWriter, r *http.Request, actor string) error {
	var s api.ImageStanding
	if err := readJSON(w, r, kindReference, &s); err != nil {
		return err
	}
	rules, err := b.rules(r.Context())
	if err != nil {
		return err
	}
	if s, err = rules.complete(s, b.cfg.Now()); err != nil {
		return err
	}
	content, err := json.Marshal(s)
	if err != nil {
		return err
	}
	action, comment := "limit-image", ""
	if s.Revoked != nil {
		action, comment = "revoke-image", s.Revoked.Reason
	}
	entry := api.AuditEntry{Action: action, Actor: actor, Peer: r.RemoteAddr, Subject: strings.TrimSpace(s.Image + " " + s.UKI + " " + comment)}
	return b.change(w, r, entry, func(ctx context.Context) error {
		return b.set(ctx, api.Version{Kind: api.StandingKind, Name: s.UKI, Actor: actor, Comment: comment, Content: content})
	})
}

// complete checks a standing, and adds what the broker knows of the image.
func (r *rules) complete(s api.ImageStanding, now time.Time) (api.ImageStanding, error) {
	before, known := r.standings[s.UKI]
	s.Image, s.Shows = before.Image, map[string]string{}
	for shown, kind := range before.Shows {
		s.Shows[shown] = kind
	}
	for id, v := range r.references.values {
		if identity(id, v) != s.UKI {
			continue
		}
		known, s.Image = true, v.Image
		for shown, kind := range shows(v) {
			s.Shows[shown] = kind
		}
	}
	if !known {
		return s, refuse(http.StatusNotFound, kindReference, "no image is known here by %.80q: trust its reference values first", s.UKI)
	}
	if s.Revoked != nil {
		s.Revoked.At = now.UTC().Truncate(time.Second)
		if before.Revoked != nil {
			s.Revoked.At = before.Revoked.At
		}
		if why := s.Revoked.Reason; strings.TrimSpace(why) == "" || len(why) > maxRevocation || strings.ContainsAny(why, "\r\n") {
			return s, refuse(http.StatusBadRequest, kindReference, "reason: expected one line of at most %d bytes", maxRevocation)
		}
	}
	return s, nil
}

// refuseRevoked keeps an image that was revoked from being trusted by values
// that are signed anew.
func (r *rules) refuseRevoked(id string, v *api.ReferenceValues) error {
	s := r.standings[identity(id, v)]
	if s.Revoked == nil {
		return nil
	}
	return refuse(http.StatusConflict, kindReference, "image %s (%s) was revoked at %s: %s", s.Image, s.UKI, s.Revoked.At.Format(time.RFC3339), s.Revoked.Reason)
}

// trustedImage tells of reference values and how far they are trusted.
func (r *rules) trustedImage(id string, now time.Time) api.TrustedImage {
	s := r.standing(id)
	who, _ := r.rebuilds.of(r.references.values[id], now)
	return api.TrustedImage{ID: id, Values: *r.references.values[id], Status: judged(s, now).Status, Until: s.Until, Revoked: s.Revoked, RebuiltBy: who}
}
