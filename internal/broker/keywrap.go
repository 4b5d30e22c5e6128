package broker

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"strings"

	"holdfast/internal/api"
	"holdfast/internal/enc"
)

// postKeyWrap wraps a layer's private options with a resource, and postKeyUnwrap
// undoes it, for administrators: an image can be encrypted and decrypted where
// it is built, and the resource stays here.
func (b *Broker) postKeyWrap(w http.ResponseWriter, r *http.Request, actor string) error {
	var m api.KeyWrap
	if err := readJSON(w, r, kindSerde, &m); err != nil {
		return err
	}
	return b.rewrap(w, r, api.AuditEntry{Action: "wrap-key", Actor: actor, Resource: m.Resource}, func(kek []byte) (answer api.KeyWrap, err error) {
		packet, err := enc.SealPacket(kbsScheme+m.Resource, kek, m.Options)
		if err == nil {
			answer.Packet, err = json.Marshal(packet)
		}
		return answer, err
	})
}

func (b *Broker) postKeyUnwrap(w http.ResponseWriter, r *http.Request, actor string) error {
	var m api.KeyWrap
	if err := readJSON(w, r, kindSerde, &m); err != nil {
		return err
	}
	packet, err := enc.ParsePacket(m.Packet)
	if err == nil {
		err = enc.CheckKID(packet.KID)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, kindSerde, "%w", err)
	}
	entry := api.AuditEntry{Action: "unwrap-key", Actor: actor, Resource: strings.TrimPrefix(packet.KID, kbsScheme)}
	return b.rewrap(w, r, entry, func(kek []byte) (api.KeyWrap, error) {
		options, err := packet.Open(kek)
		return api.KeyWrap{Options: options}, err
	})
}

const kbsScheme = "kbs:///"

// rewrap does what needs a resource's value. What leaves is recorded first.
func (b *Broker) rewrap(w http.ResponseWriter, r *http.Request, entry api.AuditEntry, do func(kek []byte) (api.KeyWrap, error)) error {
	entry.Peer, entry.Decision = r.RemoteAddr, api.AuditAllow
	answer, err := b.withResource(r.Context(), entry.Resource, do)
	if err != nil {
		entry.Decision, entry.Reasons = api.AuditRefuse, []string{reason(err)}
	}
	if unrecorded := b.record(context.WithoutCancel(r.Context()), entry); unrecorded != nil {
		return unrecorded
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (b *Broker) withResource(ctx context.Context, name string, do func(kek []byte) (api.KeyWrap, error)) (answer api.KeyWrap, err error) {
	path, err := ParseResource(name)
	if err != nil {
		return answer, refuse(http.StatusBadRequest, kindPath, "%w", err)
	}
	kek, err := b.state.Resource(ctx, string(path))
	if errors.Is(err, fs.ErrNotExist) {
		return answer, refuse(http.StatusNotFound, kindInternal, "resource not found: %s", path)
	}
	if err != nil {
		return answer, err
	}
	defer clear(kek)
	if answer, err = do(kek); err != nil {
		err = refuse(http.StatusBadRequest, kindSerde, "%w", err)
	}
	return answer, err
}
