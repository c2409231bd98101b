"""The language codes of published data sets, as their files and configurations spell them."""

FLORES_200 = """
ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab
arb_Arab arb_Latn ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn
bak_Cyrl bam_Latn ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn
bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn
dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn fij_Latn
fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr
hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn
isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor
kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kmr_Latn knc_Arab
knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn
lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Arab min_Latn
mkd_Cyrl mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn
nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn
por_Latn prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Olck scn_Latn shn_Mymr
sin_Sinh slk_Latn slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl
ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl
tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng
uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr
yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn zul_Latn
""".split()
FLORES_PLUS = (
    "apc_Arab_nort3139 apc_Arab_sout3123 apd_Arab arg_Latn brx_Deva cat_Latn_vale1252 chv_Cyrl "
    "cmn_Hans cmn_Hant dar_Cyrl dgo_Deva ekk_Latn fil_Latn gom_Deva gug_Latn kaa_Latn khk_Mong "
    "kjh_Cyrl ktu_Latn lld_Latn lld_Latn_gard1241 mni_Mtei nob_Latn_radical oci_Latn_aran1260 "
    "snd_Deva twi_Latn_akua1239 twi_Latn_asan1239 udm_Cyrl uzs_Arab wuu_Hans zgh_Tfng"
).split()
BELEBELE_ROMANISED = "arb_Latn ben_Latn hin_Latn npi_Latn sin_Latn urd_Latn".split()
NLLB_ONLY = ["sat_Beng"]
MIRACL = "ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh".split()
TATOEBA = """
afr amh ang ara arq arz ast awa aze bel ben ber bos bre bul cat cbk ceb ces cha cmn cor csb cym dan
deu dsb dtp ell epo est eus fao fin fra fry gla gle glg gsw heb hin hrv hsb hun hye ido ile ina ind
isl ita jav jpn kab kat kaz khm kor kur kzj lat lfn lit lvs mal mar max mhr mkd mon nds nld nno nob
nov oci orv pam pes pms pol por ron rus slk slv spa sqi srp swe swg swh tam tat tel tgl tha tuk tur
tzl uig ukr urd uzb vie war wuu xho yid yor yue zsm
""".split()
MTEB = """
ara-Arab ary-Arab ben-Beng cmn-Hans cmn-Hant deu-Latn eng-Latn fas-Arab fil-Latn fra-Latn heb-Hebr
hin-Deva hin-Latn jpn-Jpan kor-Hang nob-Latn nor-Latn nno-Latn rus-Cyrl spa-Latn srp-Cyrl swa-Latn
tha-Thai tgl-Latn vie-Latn yue-Hant zho-Hans zho-Hant zsm-Latn
""".split()
ISO_639_2 = """
aar abk ace ach ada ady afa afh afr ain aka akk alb sqi ale alg alt amh ang anp apa ara arc arg arm
hye arn arp art arw asm ast ath aus ava ave awa aym aze bad bai bak bal bam ban baq eus bas bat bej
bel bem ben ber bho bih bik bin bis bla bnt tib bod bos bra bre btk bua bug bul bur mya byn cad cai
car cat cau ceb cel cze ces cha chb che chg chi zho chk chm chn cho chp chr chu chv chy cmc cop cor
cos cpe cpf cpp cre crh crp csb cus wel cym dak dan dar day del den ger deu dgr din div doi dra dsb
dua dum dut nld dyu dzo efi egy eka gre ell elx eng enm epo est ewe ewo fan fao per fas fat fij fil
fin fiu fon fre fra frm fro frr frs fry ful fur gaa gay gba gem geo kat gez gil gla gle glg glv gmh
goh gon gor got grb grc grn gsw guj gwi hai hat hau haw heb her hil him hin hit hmn hmo hrv hsb hun
hup iba ibo ice isl ido iii ijo iku ile ilo ina inc ind ine inh ipk ira iro ita jav jbo jpn jpr jrb
kaa kab kac kal kam kan kar kas kau kaw kaz kbd kha khi khm kho kik kin kir kmb kok kom kon kor kos
kpe krc krl kro kru kua kum kur kut lad lah lam lao lat lav lez lim lin lit lol loz ltz lua lub lug
lui lun luo lus mac mkd mad mag mah mai mak mal man mao mri map mar mas may msa mdf mdr men mga mic
min mkh mlg mlt mnc mni mno moh mon mos mun mus mwl mwr myn myv nah nai nap nau nav nbl nde ndo nds
nep new nia nic niu nno nob nog non nor nqo nso nub nwc nya nym nyn nyo nzi oci oji ori orm osa oss
ota oto paa pag pal pam pan pap pau peo phi phn pli pol pon por pra pro pus que raj rap rar roa roh
rom rum ron run rup rus sad sag sah sai sal sam san sas sat scn sco sel sem sga sgn shn sid sin sio
sit sla slo slk slv sma sme smi smj smn smo sms sna snd snk sog som son sot spa srd srn srp srr ssa
ssw suk sun sus sux swa swe syc syr tah tai tam tat tel tem ter tet tgk tgl tha tig tir tiv tkl tlh
tli tmh tog ton tpi tsi tsn tso tuk tum tup tur tut tvl twi tyv udm uga uig ukr umb urd uzb vai ven
vie vol vot wak wal war was wen wln wol xal xho yao yap yid yor ypk zap zbl zen zha znd zul zun zza
""".split()
