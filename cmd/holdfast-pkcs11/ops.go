//go:build cgo

package main

import (
	"crypto/rand"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/miekg/pkcs11"

	"holdfast/internal/hsm"
)

const (
	nonceSize = 12
	tagBits   = 128
)

func (s *session) do(r hsm.Request) (answer hsm.Response, err error) {
	if r.Key == "" && r.Op != hsm.OpList {
		return answer, errors.New("no key is named")
	}
	switch r.Op {
	case hsm.OpList:
		answer.Keys, err = s.list(r.Key)
	case hsm.OpGenerate:
		err = s.generate(r.Key, r.ID, r.Kind)
	case hsm.OpPublic:
		answer.Data, err = s.public(r.Key)
	case hsm.OpEncrypt:
		answer.Data, err = s.encrypt(r)
	case hsm.OpDecrypt:
		answer.Data, err = s.decrypt(r)
	case hsm.OpSign:
		answer.Data, err = s.sign(r)
	case hsm.OpOAEP:
		answer.Data, err = s.oaep(r)
	case hsm.OpECDH:
		answer.Data, err = s.ecdh(r)
	default:
		err = fmt.Errorf("operation %q is not known", r.Op)
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w", r.Op, r.Key, err)
	}
	return answer, err
}

// gcm gives what CKM_AES_GCM needs, PKCS#11 2.40 mechanisms, section 2.11.
func (s *session) gcm(r hsm.Request, nonce []byte) (pkcs11.ObjectHandle, []*pkcs11.Mechanism, *pkcs11.GCMParams, error) {
	key, err := s.one(pkcs11.CKO_SECRET_KEY, r.Key)
	params := pkcs11.NewGCMParams(nonce, r.AAD, tagBits)
	return key, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_AES_GCM, params)}, params, err
}

func (s *session) encrypt(r hsm.Request) ([]byte, error) {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce)
	key, mechanism, params, err := s.gcm(r, nonce)
	if err != nil {
		return nil, err
	}
	defer params.Free()
	if err := s.EncryptInit(s.handle, mechanism, key); err != nil {
		return nil, err
	}
	box, err := s.Encrypt(s.handle, r.Data)
	if used := params.IV(); err == nil && len(used) == nonceSize {
		nonce = used // some HSMs choose it themselves
	}
	return append(nonce, box...), err
}

func (s *session) decrypt(r hsm.Request) ([]byte, error) {
	if len(r.Data) < nonceSize+tagBits/8 {
		return nil, errors.New("the ciphertext is cut off")
	}
	key, mechanism, params, err := s.gcm(r, r.Data[:nonceSize])
	if err != nil {
		return nil, err
	}
	defer params.Free()
	if err := s.DecryptInit(s.handle, mechanism, key); err != nil {
		return nil, err
	}
	return s.Decrypt(s.handle, r.Data[nonceSize:])
}

// A hashKind is how PKCS#11 calls a hash, and the head of its DigestInfo, RFC
// 8017, section 9.2, note 1.
type hashKind struct {
	hash, mgf uint
	size      int
	info      []byte
}

var hashes = map[string]hashKind{
	"sha1":   {pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1, 20, []byte{0x30, 0x21, 0x30, 9, 6, 5, 0x2b, 0x0e, 3, 2, 0x1a, 5, 0, 4, 0x14}},
	"sha256": {pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, 32, sha2Info(1, 32)},
	"sha384": {pkcs11.CKM_SHA384, pkcs11.CKG_MGF1_SHA384, 48, sha2Info(2, 48)},
	"sha512": {pkcs11.CKM_SHA512, pkcs11.CKG_MGF1_SHA512, 64, sha2Info(3, 64)},
}

func sha2Info(arc, size byte) []byte {
	return []byte{0x30, size + 17, 0x30, 13, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, arc, 5, 0, 4, size}
}

func hashOf(r hsm.Request) (hashKind, error) {
	h, ok := hashes[r.Hash]
	if !ok {
		return h, fmt.Errorf("hash %q is not known", r.Hash)
	}
	return h, nil
}

// sign gives an ASN.1 signature by ECDSA, or one of RSASSA-PKCS1-v1_5.
func (s *session) sign(r hsm.Request) ([]byte, error) {
	h, err := hashOf(r)
	if err != nil {
		return nil, err
	}
	if len(r.Data) != h.size {
		return nil, fmt.Errorf("the digest has %d bytes, expected %d", len(r.Data), h.size)
	}
	key, err := s.one(pkcs11.CKO_PRIVATE_KEY, r.Key)
	if err != nil {
		return nil, err
	}
	info, err := s.info(key, pkcs11.CKO_PRIVATE_KEY)
	if err != nil {
		return nil, err
	}
	data, mechanism := r.Data, uint(pkcs11.CKM_ECDSA)
	if info.Type == "RSA" {
		data, mechanism = append(slices.Clone(h.info), r.Data...), pkcs11.CKM_RSA_PKCS
	}
	if err := s.SignInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, key); err != nil {
		return nil, err
	}
	signature, err := s.Sign(s.handle, data)
	if err != nil || info.Type == "RSA" {
		return signature, err
	}
	half := len(signature) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(signature[:half]), new(big.Int).SetBytes(signature[half:])})
}

func (s *session) oaep(r hsm.Request) ([]byte, error) {
	h, err := hashOf(r)
	if err != nil {
		return nil, err
	}
	key, err := s.one(pkcs11.CKO_PRIVATE_KEY, r.Key)
	if err != nil {
		return nil, err
	}
	params := pkcs11.NewOAEPParams(h.hash, h.mgf, pkcs11.CKZ_DATA_SPECIFIED, nil)
	if err := s.DecryptInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_OAEP, params)}, key); err != nil {
		return nil, err
	}
	return s.Decrypt(s.handle, r.Data)
}

// ecdh agrees on a secret. The secret is a session's object for a moment, which
// alone of all keys here may be read.
func (s *session) ecdh(r hsm.Request) ([]byte, error) {
	key, err := s.one(pkcs11.CKO_PRIVATE_KEY, r.Key)
	if err != nil {
		return nil, err
	}
	params := pkcs11.NewECDH1DeriveParams(pkcs11.CKD_NULL, nil, r.Data)
	secret, err := s.DeriveKey(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDH1_DERIVE, params)}, key, []*pkcs11.Attribute{
		class(pkcs11.CKO_SECRET_KEY), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, pkcs11.CKK_GENERIC_SECRET), pkcs11.NewAttribute(pkcs11.CKA_TOKEN, false),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, false), pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, true), pkcs11.NewAttribute(pkcs11.CKA_VALUE_LEN, 32),
	})
	if err != nil {
		return nil, err
	}
	value, err := s.GetAttributeValue(s.handle, secret, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_VALUE, nil)})
	err = errors.Join(err, s.DestroyObject(s.handle, secret))
	if err != nil {
		return nil, err
	}
	return value[0].Value, nil
}
