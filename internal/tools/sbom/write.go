// SPDX-License-Identifier: AGPL-3.0-only OR LicenseRef-P2POS-Commercial

package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"
	"unicode"
)

type object = map[string]any

// number names the bill by its content, in the form of a UUID of version 8.
func (b *bill) number() string {
	h := sha256.New()
	for _, m := range b.modules {
		fmt.Fprintln(h, m.purl(), m.sum, m.licence, m.uses)
	}
	fmt.Fprintln(h, b.when.Unix())
	id := h.Sum(nil)[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// cycloneDX returns the bill as CycloneDX 1.6.
func (b *bill) cycloneDX() object {
	component := func(m *module) object {
		o := object{
			"type": "library", "bom-ref": m.purl(), "name": m.Path, "version": m.Version, "purl": m.purl(),
			"licenses": []object{{"expression": m.licence}},
		}
		if m.sum != "" {
			o["properties"] = []object{{"name": "go.sum", "value": m.sum}}
		}
		return o
	}
	var components, dependencies []object
	for i, m := range b.modules {
		if i > 0 {
			components = append(components, component(m))
		}
		uses := []string{}
		for _, u := range m.uses {
			uses = append(uses, b.find(u).purl())
		}
		dependencies = append(dependencies, object{"ref": m.purl(), "dependsOn": uses})
	}
	return object{
		"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": "urn:uuid:" + b.number(), "version": 1,
		"metadata": object{
			"timestamp": b.when.Format(time.RFC3339), "component": component(b.modules[0]),
			"tools": object{"components": []object{{"type": "application", "name": "p2pos/internal/tools/sbom"}}},
		},
		"components": components, "dependencies": dependencies,
	}
}

// spdxID makes an identifier of letters, digits, dots and dashes.
func (m *module) spdxID() string {
	return "SPDXRef-" + strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '.') {
			return r
		}
		return '-'
	}, m.Path+"-"+m.Version)
}

// spdx returns the bill as SPDX 2.3.
func (b *bill) spdx() object {
	var packages []object
	relations := []object{{"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": b.modules[0].spdxID()}}
	for _, m := range b.modules {
		p := object{
			"SPDXID": m.spdxID(), "name": m.Path, "versionInfo": m.Version, "filesAnalyzed": false,
			"downloadLocation": "NOASSERTION", "copyrightText": "NOASSERTION",
			"licenseConcluded": m.licence, "licenseDeclared": m.licence,
			"externalRefs": []object{{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": m.purl()}},
		}
		if m.sum != "" {
			p["comment"] = "go.sum " + m.sum
		}
		packages = append(packages, p)
		for _, u := range m.uses {
			relations = append(relations, object{"spdxElementId": m.spdxID(), "relationshipType": "DEPENDS_ON", "relatedSpdxElement": b.find(u).spdxID()})
		}
	}
	return object{
		"spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": b.modules[0].Path + " " + b.modules[0].Version,
		"documentNamespace": "urn:uuid:" + b.number(),
		"creationInfo":      object{"created": b.when.Format(time.RFC3339), "creators": []string{"Tool: p2pos-sbom"}},
		"packages":          packages, "relationships": relations,
		"hasExtractedLicensingInfos": []object{{
			"licenseId": "LicenseRef-P2POS-Commercial", "name": "P2P OS commercial licence",
			"extractedText": "The commercial licence of P2P OS, by agreement; see COMMERCIAL-LICENSE.md.",
		}},
	}
}
