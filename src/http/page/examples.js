// Two short news texts, written for this page.

export const EXAMPLES = {
  en: {
    title: "Hospitals recover from ransomware attack as doctors praise new security law",
    text: `Three regional hospitals brought their patient records back online on Tuesday, five days after a ransomware attack forced doctors back to pen and paper and postponed more than 400 operations.

Investigators said the intruders had entered through an unpatched server and encrypted the backups before they demanded payment in cryptocurrency. The national cyber agency and the police have opened a criminal inquiry.

“This was a reckless attack that put lives at risk, and we will not pay criminals,” Health Minister Ana Kovac said.

Doctors’ and nurses’ unions welcomed the new security law, which obliges hospitals to keep backups offline. It is an excellent law and long overdue, they said: it will protect patients and deserves full support.

Hospital managers said they were studying the text and would publish a timetable next month.`,
    targets: ["the new security law", "the ransomware attack", "the football league"],
  },
  ar: {
    title: "مدينة ساحلية تفتتح أكبر محطة للطاقة الشمسية وسط ترحيب السكان واعتراض الصيادين",
    text: `افتتحت السلطات المحلية، صباح الأحد، محطة للطاقة الشمسية تمتد على مساحة أربعة كيلومترات مربعة قرب الساحل، ومن المنتظر أن تغطي ثلث حاجة المدينة من الكهرباء وأن تخفض انبعاثات الكربون بنحو 90 ألف طن سنويا.

ورحب سكان الأحياء المجاورة بالمشروع، وقالت المعلمة سلمى الحداد إن المحطة "إنجاز رائع طال انتظاره، وستنهي سنوات من انقطاع الكهرباء في الصيف".

في المقابل، انتقد اتحاد الصيادين قرار ردم جزء من الشاطئ، ووصفه بأنه قرار جائر يدمر مصدر رزق مئات العائلات، وطالب الحكومة بوقف الردم فورا وتعويض المتضررين.

وأكد مدير المشروع أن دراسة الأثر البيئي نُشرت قبل عام، وأن مرحلة ثانية لتخزين الطاقة في البطاريات ستبدأ الشهر المقبل بكلفة 120 مليون دولار.`,
    targets: ["محطة الطاقة الشمسية", "ردم الشاطئ", "دوري كرة القدم"],
  },
};
